"""`autocompress ui`: the MLflow UI on a search."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import click

from autocompress.cli.output import a_folder


@click.command()
@click.argument("folder", type=a_folder)
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
def ui(folder: Path, port: int) -> None:
    """Browse the trials of the search in FOLDER in the MLflow UI, until Ctrl-C."""
    from autocompress.errors import SearchError
    from autocompress.tracking import server_command, server_environment

    if not (folder / "mlflow.db").is_file():
        raise SearchError(f"'{folder}' holds no tracked search; `autocompress search` makes one")
    # A stop by another program ends the server too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    click.echo(f"http://127.0.0.1:{port} (starting; Ctrl-C ends it)", err=True)
    server = subprocess.Popen(server_command(folder, port), env=server_environment())
    try:
        code = server.wait()
    except KeyboardInterrupt:
        server.terminate()
        server.wait()
        return
    if code:
        raise SearchError(f"the MLflow server ended with exit code {code}; is port {port} in use?")
