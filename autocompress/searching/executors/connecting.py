"""The way to a cluster: its address, its scheduler, or one of our own on this machine."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from autocompress.errors import SearchError
from autocompress.support.process import logging_at

_LOCAL = re.compile(r"local:([1-9][0-9]{0,3})")
_ADDRESS = re.compile(r"([a-z]+://)?(?!local:)([^\s/:]+|\[[0-9a-fA-F:]+\]):[0-9]+")
_PATIENCE_S = 10.0
_LOGGERS = ("distributed", "distributed.client", "tornado", "tornado.application", "asyncio")
_UNHEARD = logging.CRITICAL + 1
# Ctrl-C reaches all processes of a terminal, but what it means is for the first to decide.
_PRELOAD = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"


def check_address(cluster: str) -> None:
    """Refuse what is no address, and any where Dask is not installed.

    Raises:
        SearchError: The message says which forms there are.
    """
    known = isinstance(cluster, str) and (
        _LOCAL.fullmatch(cluster) or _ADDRESS.fullmatch(cluster) or cluster.endswith(".json")
    )
    if not known:
        raise SearchError(
            "a cluster is the address of a Dask scheduler, as tcp://host:8786, a scheduler file, "
            f"as scheduler.json, or local:4 for four workers on this machine, but got {cluster!r}"
        )
    if find_spec("distributed") is None:
        raise SearchError(
            "a cluster needs Dask, which is not installed: pip install 'autocompress[cluster]'"
        )


@contextmanager
def connected(cluster: str) -> Iterator[Any]:
    """Yield a client of a cluster; what it still does is cancelled at the end.

    Args:
        cluster: Its address, or "local:4" for one that begins and ends with the block.

    Raises:
        SearchError: If no scheduler answers.
    """
    check_address(cluster)
    from distributed import Client

    local = _LOCAL.fullmatch(cluster)
    with warnings.catch_warnings(), logging_at(_UNHEARD, *_LOGGERS):
        warnings.simplefilter("ignore")
        with _started(int(local[1])) if local else _found(cluster) as address:
            try:
                client = Client(
                    address, timeout=_PATIENCE_S, set_as_default=False, name="autocompress"
                )
            except Exception as error:  # of all kinds, by what answers instead
                raise SearchError(
                    f"no Dask scheduler answers at '{cluster}' ({error}); check the address, or "
                    "start one by `dask scheduler`"
                ) from error
            try:
                yield client
            finally:
                client.close(timeout=_PATIENCE_S)


@contextmanager
def _found(cluster: str) -> Iterator[str]:
    """Yield the address that a scheduler file names, or the address that is given."""
    if not cluster.endswith(".json"):
        yield cluster if "://" in cluster else f"tcp://{cluster}"
        return
    import json

    try:
        address = json.loads(Path(cluster).read_text(encoding="utf-8"))["address"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise SearchError(
            f"'{cluster}' is no scheduler file ({error}); `dask scheduler --scheduler-file` "
            "writes one"
        ) from error
    yield str(address)


@contextmanager
def _started(workers: int) -> Iterator[str]:
    """Start a cluster on this machine; each worker takes one core and as much memory as it needs.

    Raises:
        SearchError: If its processes do not start.
    """
    from distributed import LocalCluster

    try:
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            memory_limit=0,
            silence_logs=_UNHEARD,
            preload=[_PRELOAD],
        )
    except Exception as error:
        raise SearchError(
            f"a cluster of {workers} workers does not start on this machine ({error}); use fewer, "
            "and in a script call the search below `if __name__ == '__main__':`"
        ) from error
    with cluster:
        yield cluster.scheduler_address
