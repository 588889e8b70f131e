"""One job at a time, in this process."""

from __future__ import annotations

from autocompress.searching.executors.base import Outcome, outcome_of
from autocompress.searching.jobs import Bench, Job


class ThisProcess:
    """Does one job at a time, when it is asked for the next outcome."""

    capacity = 1

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._waiting: list[Job] = []

    @property
    def n_begun(self) -> int:
        """How many jobs wait to be done."""
        return len(self._waiting)

    def begin(self, job: Job) -> None:
        """Keep a job until `next` does it."""
        self._waiting.append(job)

    def next(self) -> tuple[Job, Outcome]:
        """Do the job that was begun first."""
        job = self._waiting.pop(0)
        return job, outcome_of(self._bench, job)
