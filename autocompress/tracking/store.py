"""Where a search's MLflow database lies, and how its errors are told."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autocompress.errors import SearchError
from autocompress.support.process import logging_at

# MLflow reports its use over the network, unless it is told not to when it is imported.
_SILENT = "MLFLOW_DISABLE_TELEMETRY"


def database_uri(out: Path) -> str:
    """Return the address of the database in a search's folder."""
    return f"sqlite:///{out / 'mlflow.db'}"


def check_database(path: Path) -> None:
    """Open a database for writing, and raise what sqlite says where it cannot be."""
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA user_version").fetchone()
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()
    finally:
        connection.close()


@contextmanager
def mlflow_errors(action: str) -> Iterator[None]:
    """Turn the errors of MLflow, its database and the disk into a `SearchError` of one line."""
    os.environ.setdefault(_SILENT, "true")
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        # It logs every migration of a new database, and the stack of each error that it raises.
        with logging_at(logging.CRITICAL, "mlflow", "alembic"):
            yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise SearchError(f"MLflow could not {action}: {reason}") from error
