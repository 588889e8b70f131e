"""The MLflow server that shows a search's folder on this machine."""

from __future__ import annotations

import errno
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NamedTuple

from autocompress.errors import SearchError
from autocompress.tracking.homes import EXPERIMENT
from autocompress.tracking.store import (
    ARTIFACTS,
    DATABASE,
    database_uri,
    is_of_mlflow,
    linked,
    unlinked,
)

HOST = "127.0.0.1"
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Hosts that stand for all addresses of this machine, and one of these."""
_OF_SERVERS = "MLFLOW_SERVER_"
"""Variables that say who may ask a server, such as by which names."""
_PATIENCE_S = 180.0  # of a busy machine
_OK = 200
_PORTS_TRIED = 100


class Listening(NamedTuple):
    """Where a server listens.

    Attributes:
        host: The address, or a name of it; "0.0.0.0" and "::" are all of this machine.
        port: A free port.
        prefix: What paths begin with, as "/mlflow", for a server behind another one.
    """

    host: str
    port: int
    prefix: str = ""

    @property
    def root(self) -> str:
        """The address that a browser opens."""
        name = socket.gethostname() if self.host in _ANY else self.host
        name = f"[{name}]" if ":" in name else name
        return f"http://{name}:{self.port}{self.prefix}"


class Server(NamedTuple):
    """A server that was started.

    Attributes:
        process: Its process.
        log: The file that all it says is written to.
        at: Where it listens.
    """

    process: subprocess.Popen[bytes]
    log: Path
    at: Listening


@contextmanager
def server(out: Path, at: Listening, uri: str | None = None) -> Iterator[Server]:
    """Start a server that shows a search's folder, and end it with the block.

    Args:
        out: The folder.
        at: Where it is to listen.
        uri: The store that is shown, if it is not the database in the folder.
    """
    place = linked(out)
    process = None
    try:
        artifacts = out.resolve() / ARTIFACTS if uri is None else None
        command = _command(uri or database_uri(place), artifacts, at)
        log = place / "server.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, env=_environment(at), cwd=place, stdout=file, stderr=subprocess.STDOUT
            )
        yield Server(process, log, at)
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
        if _answers(server.at):
            return server.at.root
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


def check_port(port: int, host: str = HOST) -> None:
    """Refuse an address on which no server could listen.

    Raises:
        SearchError: If this machine has no such host, another program listens there, or it takes
            rights that the user lacks.
    """
    error = _fault_of(port, host)
    if error is not None:
        is_host = _is_of_host(error)
        what, option = (f"host '{host}'", "--host") if is_host else (f"port {port}", "--port")
        raise SearchError(
            f"{what} cannot be used ({error.strerror}); choose another one by {option}"
        ) from error


def free_port(first: int, host: str = HOST) -> int:
    """Return a port or the next one that is free.

    Raises:
        SearchError: If there is none among a hundred, or this machine has no such host.
    """
    for port in range(first, first + _PORTS_TRIED):
        error = _fault_of(port, host)
        if error is None:
            return port
        if _is_of_host(error):
            check_port(port, host)
    raise SearchError(
        f"no port from {first} to {first + _PORTS_TRIED - 1} is free; choose one by --port"
    )


def _fault_of(port: int, host: str) -> OSError | None:
    """Return why no server could listen there, or None."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with closing(socket.socket(family)) as probe:
            if os.name == "posix":  # elsewhere it lets two programs have one port
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None


def _is_of_host(error: OSError) -> bool:
    return isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL


def _answers(at: Listening) -> bool:
    host = _ANY.get(at.host, at.host)
    with closing(HTTPConnection(host, at.port, timeout=5)) as connection:
        try:
            connection.request("GET", f"{at.prefix}/health")
            return connection.getresponse().status == _OK
        except (OSError, HTTPException):
            return False


def _command(store: str, artifacts: Path | None, at: Listening) -> list[str]:
    options = {
        "--backend-store-uri": store,
        "--host": at.host,
        "--port": str(at.port),
        "--workers": "1",
    }
    if artifacts is not None:
        options["--artifacts-destination"] = artifacts.as_uri()
    if at.prefix:
        options["--static-prefix"] = at.prefix
    words = [word for option in options.items() for word in option]
    return [sys.executable, "-m", "mlflow", "server", *words]


def _environment(at: Listening) -> dict[str, str]:
    """Return the environment of the server: it reports nothing, and nothing redirects it."""
    kept = {
        name: text
        for name, text in os.environ.items()
        if not is_of_mlflow(name) or name.startswith(_OF_SERVERS)
    }
    if at.host != HOST:  # MLflow answers only under names, and to pages, that it was told of
        places = [f"{name}:{at.port}" for name in _names(at)]
        kept.setdefault("MLFLOW_SERVER_ALLOWED_HOSTS", ",".join(places))
        origins = ",".join(f"http://{place}" for place in places)
        kept.setdefault("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", origins)
    return {**kept, "MLFLOW_DISABLE_TELEMETRY": "true"}


def _names(at: Listening) -> list[str]:
    """Return by which names this machine may be asked, as they stand in addresses."""
    own = {at.host, socket.gethostname(), socket.getfqdn(), "localhost", HOST} - _ANY.keys()
    with suppress(OSError):
        found = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
        own |= {str(address[0]).partition("%")[0] for *_, address in found}
    return sorted(f"[{name}]" if ":" in name else name for name in own)
