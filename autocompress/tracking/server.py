"""The MLflow server that shows a search's folder on this machine."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NamedTuple

from autocompress.errors import SearchError
from autocompress.tracking.runs import EXPERIMENT
from autocompress.tracking.store import (
    ARTIFACTS,
    DATABASE,
    database_uri,
    is_of_mlflow,
    linked,
    unlinked,
)

HOST = "127.0.0.1"
_PATIENCE_S = 180.0  # of a busy machine
_OK = 200
_PORTS_TRIED = 100


class Server(NamedTuple):
    """A server that was started.

    Attributes:
        process: Its process.
        log: The file that all it says is written to.
        port: Where it listens.
    """

    process: subprocess.Popen[bytes]
    log: Path
    port: int


@contextmanager
def server(out: Path, port: int) -> Iterator[Server]:
    """Start a server that shows a search's folder, and end it with the block.

    Args:
        out: The folder.
        port: A free port of this machine.
    """
    place = linked(out)
    process = None
    try:
        command = _command(database_uri(place), out.resolve() / ARTIFACTS, port)
        log = place / "server.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, env=_environment(), cwd=place, stdout=file, stderr=subprocess.STDOUT
            )
        yield Server(process, log, port)
    finally:
        if process is not None:
            process.terminate()
            process.wait()
        unlinked(place)


def wait_until_up(server: Server) -> str:
    """Wait until a server answers, and return its address.

    Raises:
        SearchError: If it ends instead, or is silent for minutes; what it said goes before.
    """
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        code = server.process.poll()
        if code is not None:
            _show(server.log)
            raise SearchError(f"the MLflow server ended with exit code {code}; it says why above")
        if _answers(server.port):
            return f"http://{HOST}:{server.port}"
        time.sleep(0.2)
    _show(server.log)
    raise SearchError(f"the MLflow server does not answer within {_PATIENCE_S:g} s; try again")


def experiment_of(out: Path) -> str:
    """Return the id of the experiment in which the runs of a search's folder lie.

    Raises:
        SearchError: If there is none.
    """
    try:
        with closing(sqlite3.connect(out / DATABASE)) as connection:
            query = "SELECT experiment_id FROM experiments WHERE name = ?"
            found = connection.execute(query, (EXPERIMENT,)).fetchone()
    except sqlite3.Error as error:
        raise SearchError(f"'{out / DATABASE}' cannot be read ({error})") from error
    if found is None:
        raise SearchError(f"'{out}' has no trials in MLflow yet; try again when there are some")
    return str(found[0])


def _show(log: Path) -> None:
    sys.stderr.write(log.read_text(encoding="utf-8", errors="replace"))


def check_port(port: int) -> None:
    """Refuse a port on which no server could listen.

    Raises:
        SearchError: If another program listens there, or it takes rights that the user lacks.
    """
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise SearchError(
                f"port {port} cannot be used ({error.strerror}); choose another one by --port"
            ) from error


def free_port(first: int) -> int:
    """Return a port or the next one that is free.

    Raises:
        SearchError: If there is none among a hundred.
    """
    for port in range(first, first + _PORTS_TRIED):
        try:
            check_port(port)
        except SearchError:
            continue
        return port
    raise SearchError(
        f"no port from {first} to {first + _PORTS_TRIED - 1} is free; choose one by --port"
    )


def _answers(port: int) -> bool:
    with closing(HTTPConnection(HOST, port, timeout=5)) as connection:
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == _OK
        except (OSError, HTTPException):
            return False


def _command(database: str, artifacts: Path, port: int) -> list[str]:
    options = {
        "--backend-store-uri": database,
        "--artifacts-destination": artifacts.as_uri(),
        "--host": HOST,
        "--port": str(port),
        "--workers": "1",
    }
    words = [word for option in options.items() for word in option]
    return [sys.executable, "-m", "mlflow", "server", *words]


def _environment() -> dict[str, str]:
    """Return the environment of the server: it reports nothing, and nothing redirects it."""
    kept = {name: text for name, text in os.environ.items() if not is_of_mlflow(name)}
    return {**kept, "MLFLOW_DISABLE_TELEMETRY": "true"}
