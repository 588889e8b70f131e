"""Where the runs of a search lie: in a database of its folder, or on a server of the user's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit, urlunsplit
from weakref import finalize

from autocompress.errors import SearchError
from autocompress.tracking.store import (
    ARTIFACTS,
    SILENT,
    close,
    linked,
    mlflow_errors,
    open_database,
    unlinked,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "autocompress"
SEARCH, KEY = "autocompress.search", "autocompress.key"
_URI, _NAME = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"
# MLflow's own patience is minutes for every call; what a server misses is logged later anyway.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}
_LONGEST_REASON = 300


class Home(Protocol):
    """Holds the runs of a search.

    Attributes:
        heals: Whether files that somebody has deleted from runs are copied there again.
        view: What the saved view of the trials is called.
    """

    heals: bool
    view: str

    @property
    def experiment(self) -> str:
        """Name of the experiment in which the runs lie."""

    @property
    def location(self) -> str | None:
        """Where a new experiment has its files; None leaves that to the server."""

    def tags(self, name: str) -> dict[str, str]:
        """Return the tags by which the run of a search of this name is known."""

    def errors(self, action: str) -> AbstractContextManager[None]:
        """Turn MLflow's errors within the block into a `SearchError` of one line."""

    def open(self) -> MlflowClient:
        """Return a client that has reached it."""

    def has_file(self, client: MlflowClient, run_id: str, name: str) -> bool:
        """Whether a run has a file or a folder of this name."""

    def close(self, client: MlflowClient) -> None:
        """Give back what a client holds."""


class OwnFolder:
    """A database in the folder of the search, which nothing in the environment redirects."""

    heals, view, experiment = True, "autocompress", EXPERIMENT

    def __init__(self, out: Path) -> None:
        self._out = out.resolve()

    @property
    def location(self) -> str:
        """The folder of all files of runs."""
        return (self._out / ARTIFACTS).as_uri()

    def tags(self, name: str) -> dict[str, str]:
        """Return the name: no other search lies there."""
        return {SEARCH: name}

    def errors(self, action: str) -> AbstractContextManager[None]:
        """As `mlflow_errors`."""
        return mlflow_errors(action)

    def open(self) -> MlflowClient:
        """Open the database, or make it anew."""
        self._out.mkdir(parents=True, exist_ok=True)
        place = linked(self._out)
        finalize(self, unlinked, place)
        return open_database(self._out, place)

    def has_file(self, client: MlflowClient, run_id: str, name: str) -> bool:
        """Look for it on the disk."""
        del client
        return (self._out / ARTIFACTS / run_id / "artifacts" / name).exists()

    def close(self, client: MlflowClient) -> None:
        """Close the connections."""
        close(client)


class UsersServer:
    """A tracking server, or what else MLflow takes for an address, of the user's own.

    MLflow's variables count there: credentials, certificates, the name of the experiment, and its
    own patience where somebody has set that.

    Attributes:
        uri: Its address.
        key: What tells the search from all others there.
    """

    heals, location = False, None

    def __init__(self, uri: str, key: str) -> None:
        self.uri, self.key = uri, key
        self.view = f"autocompress-{key[:8]}"

    @property
    def experiment(self) -> str:
        """The name in the environment, or the tool's own."""
        return os.environ.get(_NAME) or EXPERIMENT

    def tags(self, name: str) -> dict[str, str]:
        """Return the name, and the key: others may search models of the same name."""
        return {SEARCH: name, KEY: self.key}

    @contextmanager
    def errors(self, action: str) -> Iterator[None]:
        """Turn errors into one line that does not show any password."""
        with mlflow_errors(action, self._environment, self._reason):
            yield

    def open(self) -> MlflowClient:
        """Return a client that has asked the server something."""
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=self.uri)
        client.search_experiments(max_results=1)
        return client

    def has_file(self, client: MlflowClient, run_id: str, name: str) -> bool:
        """Ask the server."""
        return any(file.path == name for file in client.list_artifacts(run_id))

    def close(self, client: MlflowClient) -> None:
        """Close the connections, where they are of a database."""
        close(client)

    @contextmanager
    def _environment(self) -> Iterator[None]:
        before = dict(os.environ)
        os.environ.update(_PATIENCE | before | SILENT | {_URI: self.uri})
        try:
            yield
        finally:
            for name in os.environ.keys() - before.keys():
                del os.environ[name]
            os.environ.update(before)

    def _reason(self, error: BaseException) -> str:
        cause = error.__cause__ or error.__context__
        while cause is not None:
            if isinstance(cause, OSError):  # as are all errors of connections
                return f"'{shown(self.uri)}' does not answer"
            cause = cause.__cause__ or cause.__context__
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        return reason.replace(self.uri, shown(self.uri))[:_LONGEST_REASON]


def chosen_uri(given: str | None = None) -> str | None:
    """Return the address of the user's server, by an argument or the environment; None without.

    Raises:
        SearchError: If it is no address.
    """
    uri = (given if given is not None else os.environ.get(_URI, "")).strip().rstrip("/")
    if not uri:
        return None
    # A host and a port without a scheme would be taken for one, and a word for a folder.
    is_address = urlsplit(uri).hostname if is_web(uri) else "/" in uri or uri == "databricks"
    if not is_address:
        raise SearchError(
            "a tracking URI must be the address of an MLflow server, such as http://host:5000, "
            f"but got '{shown(uri)}'; mend --tracking-uri or MLFLOW_TRACKING_URI, or leave it out"
        )
    return uri


def is_web(uri: str) -> bool:
    """Whether an address is one of a server that a browser can open."""
    return urlsplit(uri).scheme in ("http", "https")


def shown(uri: str) -> str:
    """Return an address without the user and the password in it."""
    parts = urlsplit(uri)
    if not parts.netloc:
        return uri  # which would lose slashes of "sqlite:///"
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
