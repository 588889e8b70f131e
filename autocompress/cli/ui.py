"""`autocompress ui`: the MLflow UI on a search."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from autocompress.cli.output import a_folder

_FIRST_PORT = 5000


@click.command()
@click.argument("folder", type=a_folder)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help=f"Where to listen.  [default: {_FIRST_PORT}, or the next one that is free]",
)
def ui(folder: Path, port: int | None) -> None:
    """Browse the trials of the search in FOLDER in the MLflow UI, until Ctrl-C."""
    from autocompress.searching.record import prepare_record
    from autocompress.tracking.server import (
        check_port,
        experiment_of,
        free_port,
        server,
        wait_until_up,
    )
    from autocompress.tracking.view import address

    if port is None:
        port = free_port(_FIRST_PORT)
    else:
        check_port(port)
    prepare_record(folder)
    experiment = experiment_of(folder)
    click.echo("starting MLflow; Ctrl-C ends it", err=True)
    with suppress(KeyboardInterrupt), server(folder, port) as started:
        root = wait_until_up(started)
        click.echo(address(root, experiment))
        started.process.wait()
