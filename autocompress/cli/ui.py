"""`autocompress ui`: the MLflow UI on a search."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from autocompress.cli.helping import Command
from autocompress.cli.output import a_folder, a_tracking_uri

_FIRST_PORT, _HOST = 5000, "127.0.0.1"


@click.command(
    cls=Command,
    examples=(
        "autocompress ui RUN",
        "autocompress ui RUN --host 0.0.0.0 --port 8080 --prefix /mlflow",
        "autocompress ui RUN --tracking-uri http://mlflow.example.org",
    ),
)
@click.argument("folder", type=a_folder)
@click.option("--host", metavar="HOST", help=f"Where to listen.  [default: {_HOST}]")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help=f"Where to listen.  [default: {_FIRST_PORT}, or the next one that is free]",
)
@click.option(
    "--prefix", metavar="PATH", help="What paths begin with, as /mlflow, behind another server."
)
@a_tracking_uri
def ui(
    folder: Path,
    host: str | None,
    port: int | None,
    prefix: str | None,
    tracking_uri: str | None,
) -> None:
    """Browse the trials of the search in FOLDER in the MLflow UI, until Ctrl-C.

    Where the trials are on a server, by --tracking-uri, $MLFLOW_TRACKING_URI or since the search
    logged them there, what it lacks of them is logged, and the link is printed. With --host,
    --port or --prefix, a server is started on the folder all the same.
    """
    from autocompress.searching.record import known_server, served_page
    from autocompress.tracking.homes import chosen_uri, is_web

    own = [name for name, value in _given(host, port, prefix).items() if value is not None]
    if own and tracking_uri is not None and is_web(tracking_uri):
        raise click.UsageError(f"{own[0]} is of a server that is started, not of {tracking_uri}")
    uri = tracking_uri or (None if own else chosen_uri() or known_server(folder))
    if uri is not None and is_web(uri):
        click.echo(served_page(folder, uri))
        return
    _serve(folder, uri, host or _HOST, port, _checked(prefix))


def _serve(folder: Path, uri: str | None, host: str, port: int | None, prefix: str) -> None:
    """Start a server on a folder, or on another store, and print the link."""
    from autocompress.searching.record import prepare_record, served_page
    from autocompress.tracking.server import (
        Listening,
        check_port,
        experiment_of,
        free_port,
        server,
        wait_until_up,
    )
    from autocompress.tracking.view import address

    if port is None:
        port = free_port(_FIRST_PORT, host)
    else:
        check_port(port, host)
    if uri is None:
        prepare_record(folder)
        page = address("", experiment_of(folder))
    else:
        page = served_page(folder, uri)
    click.echo("starting MLflow; Ctrl-C ends it", err=True)
    at = Listening(host, port, prefix)
    with suppress(KeyboardInterrupt), server(folder, at, uri) as started:
        click.echo(wait_until_up(started) + page)
        started.process.wait()


def _given(host: str | None, port: int | None, prefix: str | None) -> dict[str, object]:
    return {"--host": host, "--port": port, "--prefix": prefix}


def _checked(prefix: str | None) -> str:
    """Return a prefix as MLflow takes it.

    Raises:
        click.UsageError: If it is no part of a path.
    """
    text = (prefix or "").rstrip("/")
    if text and (not text.startswith("/") or set(text) & set("{}?#% ")):
        raise click.UsageError(f"--prefix must be the beginning of a path, as /mlflow, got {text}")
    return text
