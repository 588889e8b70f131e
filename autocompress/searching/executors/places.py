"""Where a search has its jobs done, from its beginning to its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from autocompress.searching.executors.base import Executor, pickled
from autocompress.searching.executors.local_processes import LocalProcesses
from autocompress.searching.executors.this_process import ThisProcess
from autocompress.searching.jobs import Bench

if TYPE_CHECKING:
    from autocompress.searching.executors.crew import Crew


class Place(Protocol):
    """Where jobs can be done."""

    def executing(self, bench: Bench, jobs: int) -> AbstractContextManager[Executor]:
        """Return an executor, which ends with the block.

        Args:
            bench: What the jobs work with.
            jobs: How many are to be done at a time where that can be chosen.

        Raises:
            SearchError: If the bench cannot be copied to other processes.
        """


@contextmanager
def place_of(cluster: str | None) -> Iterator[Place]:
    """Yield the place of a search.

    Args:
        cluster: Address of a Dask cluster, or None for this machine.

    Raises:
        SearchError: If the cluster cannot be reached.
    """
    if cluster is None:
        yield ThisMachine()
        return
    from autocompress.searching.executors.connecting import connected

    with connected(cluster) as client:
        yield _Cluster(client)


class ThisMachine:
    """One job in this process, or several in others."""

    def executing(self, bench: Bench, jobs: int) -> AbstractContextManager[Executor]:
        """Return an executor for so many jobs at a time."""
        return _here(bench) if jobs == 1 else LocalProcesses(bench, jobs)


@contextmanager
def _here(bench: Bench) -> Iterator[Executor]:
    yield ThisProcess(bench)


class _Cluster:
    """A Dask cluster, whose workers get the same bench once."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._crews: list[tuple[Bench, Crew]] = []

    @contextmanager
    def executing(self, bench: Bench, jobs: int) -> Iterator[Executor]:
        """Return an executor for as many jobs at a time as there are workers."""
        del jobs
        from autocompress.searching.executors.cluster import OnCluster

        executor = OnCluster(self._client, self._crew(bench))
        try:
            yield executor
        finally:
            executor.cancel()

    def _crew(self, bench: Bench) -> Crew:
        from autocompress.searching.executors.crew import Crew, OnProcessor

        for known, crew in self._crews:
            if known is bench:
                return crew
        crew = Crew(self._client, pickled(bench, OnProcessor))
        self._crews[:] = [(bench, crew)]
        return crew
