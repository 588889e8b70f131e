"""A search's MLflow database: there whole or not at all, and made anew where it is damaged."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from autocompress.errors import SearchError
from autocompress.support.blame import first_line
from autocompress.support.files import put_aside, write_whole
from autocompress.support.process import logging_at

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"

# MLflow reports its use over the network, unless it is told not to when it is imported.
SILENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_LINK, _ANEW = "search", "anew"
# What says that the file is at fault, not the disk, the rights or another program.
_FAULTS = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def linked(out: Path) -> Path:
    """Link to a folder from a new temporary one, and return the temporary one.

    MLflow takes paths for parts of addresses, where "%", "?" and "#" mean something else, and
    keeps its connections by address even where the file has been replaced since. By a link of
    its own, every database has a plain and a new address.
    """
    place = Path(tempfile.mkdtemp(prefix="autocompress-mlflow-"))
    _link(place / _LINK, out.resolve())
    return place


def _link(link: Path, folder: Path) -> None:
    """Link to a folder; by a junction where Windows lets only administrators make links."""
    try:
        link.symlink_to(folder, target_is_directory=True)
    except OSError:
        if os.name != "nt":
            raise
        import _winapi

        _winapi.CreateJunction(str(folder), str(link))  # type: ignore[attr-defined]


def unlinked(place: Path) -> None:
    """Remove what `linked` has made."""
    shutil.rmtree(place, ignore_errors=True)


def database_uri(place: Path, name: str = DATABASE, link: str = _LINK) -> str:
    """Return the address of the database in a folder that `linked` has linked to."""
    return f"sqlite:///{place / link / name}"


def open_database(out: Path, place: Path) -> MlflowClient:
    """Open the database in a search's folder, or make it anew where it is missing or damaged.

    One of another version of MLflow, which it does not bring up to date itself, counts as such. A
    damaged one is kept beside it under another name.

    Args:
        out: The folder.
        place: What `linked` gave for it.
    """
    path = out / DATABASE
    if path.exists() and path.stat().st_size:
        try:
            if path.is_dir():
                raise sqlite3.DatabaseError("it is a folder")
            _check(path)
            _relocate(path, (out / ARTIFACTS).as_uri())
            return _client(database_uri(place))
        except Exception as error:
            if not _is_at_fault(error):
                raise
            put_aside(path, error)
    _build(path, place)
    _link(place / _ANEW, out)
    return _client(database_uri(place, link=_ANEW))


def relocate(out: Path) -> None:
    """Have the runs in a folder that was moved or copied find their files there.

    Raises:
        SearchError: If the database cannot be written.
    """
    try:
        _relocate(out / DATABASE, (out.resolve() / ARTIFACTS).as_uri())
    except sqlite3.Error as error:
        raise SearchError(f"'{out / DATABASE}' cannot be used ({error})") from error


def is_whole(out: Path) -> bool:
    """Whether the database in a folder is there and shows no damage."""
    path = out / DATABASE
    if not path.is_file() or not path.stat().st_size:
        return False
    try:
        _check(path)
    except sqlite3.Error as error:
        return not _is_at_fault(error)
    return True


def _check(path: Path) -> None:
    """Open a database for writing, and raise what sqlite says where it cannot be.

    MLflow retries for minutes when a file is unusable; sqlite says so at once.
    """
    with closing(sqlite3.connect(path)) as connection:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict.splitlines()[-1])
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if not {"alembic_version", "experiments", "runs"} <= names or any(
            name.startswith("_alembic_tmp") for name in names
        ):
            raise sqlite3.DatabaseError("it is half built")
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()


def _build(path: Path, place: Path) -> None:
    """Build an empty database beside its place: a process may be killed while that goes on."""

    def build(temporary: Path) -> None:
        client = _client(database_uri(place, temporary.name))
        client.search_experiments()
        close(client)

    for suffix in ("-journal", "-wal", "-shm"):  # of another file, and harmful to this one
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    write_whole(path, build)


def _client(uri: str) -> MlflowClient:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    client.search_experiments(max_results=1)  # opens it
    return client


def close(client: MlflowClient) -> None:
    """Close the connections of a client; it opens new ones when it is used again."""
    store = client._tracking_client.store
    if hasattr(store, "engine"):
        store.engine.dispose()


def _relocate(path: Path, location: str) -> None:
    """Replace the location of artifacts, where it is that of a folder of other name."""
    with closing(sqlite3.connect(path)) as connection, connection:
        query = "SELECT experiment_id, artifact_location FROM experiments WHERE name = ?"
        for key, old in connection.execute(query, ("autocompress",)).fetchall():
            if old in (None, location):
                continue
            connection.execute(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) "
                "WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?",
                (location, len(old) + 1, key, len(old), old),
            )
            connection.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
                (location, key),
            )


def _is_at_fault(error: BaseException) -> bool:
    """Whether an error tells of a damaged database, and not of the world around it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return False
        code = getattr(cause, "sqlite_errorcode", None)
        if code is not None and code & 0xFF not in _FAULTS:
            return False
        cause = cause.__cause__ or cause.__context__
    return True


@contextmanager
def own_environment() -> Iterator[None]:
    """Take MLflow's variables out of the environment, and put them back in the end."""
    users = {name: text for name, text in os.environ.items() if is_of_mlflow(name)}
    for name in users:
        del os.environ[name]
    os.environ.update(SILENT)
    try:
        yield
    finally:
        for name in filter(is_of_mlflow, list(os.environ)):
            del os.environ[name]
        os.environ.update(users)


@contextmanager
def mlflow_errors(
    action: str,
    environment: Callable[[], AbstractContextManager[None]] = own_environment,
    reason: Callable[[BaseException], str] | None = None,
) -> Iterator[None]:
    """Turn the errors of MLflow, its database and the disk into a `SearchError` of one line.

    Args:
        action: What MLflow is to do.
        environment: In which it does that; by default one that says nothing of a user's own
            servers and runs.
        reason: Tells an error on one line; by default what the database says, if it is at fault.
    """
    with environment():
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            # They log every migration of a new database, each retry, and the stack of each error.
            with logging_at(logging.CRITICAL, "mlflow", "alembic", "urllib3"):
                yield
        except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
            text = (reason or _told)(error)
            raise SearchError(f"MLflow could not {action}: {text}") from error


def _told(error: BaseException) -> str:
    """Tell an error by its cause in the database, which its message may name at its end."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, sqlite3.Error):
            return first_line(cause)
        cause = cause.__cause__ or cause.__context__
    return first_line(error)


def is_of_mlflow(name: str) -> bool:
    """Whether an environment variable is one of MLflow's."""
    return name.startswith(("MLFLOW_", "_MLFLOW_"))
