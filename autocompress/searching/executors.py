"""Trials side by side, in processes of their own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import cloudpickle

from autocompress.errors import AutocompressError, SearchError
from autocompress.outcome.results import TrialResult
from autocompress.plan import CompressionPlan
from autocompress.support.signals import deaf
from autocompress.trial.evaluator import Evaluator, GivenUp, Hurdle

Outcome = TrialResult | GivenUp | AutocompressError


class Job(NamedTuple):
    """One trial to be made."""

    number: int
    plan: CompressionPlan
    path: Path
    hurdles: Sequence[Hurdle]


class Workers:
    """Makes trials: one in this process, or several in as many others.

    Each uses one processor core. Other processes are told what to do and give results back;
    study, folder and tracking remain with this one.
    """

    def __init__(self, evaluator: Evaluator, count: int) -> None:
        """Start the processes, if there is to be more than one.

        Args:
            evaluator: Copied to each; tasks, models and objectives may be anything that
                cloudpickle can copy.
            count: How many trials are made at the same time.

        Raises:
            SearchError: If the evaluator cannot be copied.
        """
        self.count = count
        self._evaluator = evaluator
        self._waiting: list[Job] = []
        self._busy: dict[int, Job] = {}
        self._processes: list[Any] = []
        self._pipes: list[Connection] = []
        if count > 1:
            self._start(_pickled(evaluator))

    def _start(self, evaluator: bytes) -> None:
        context = get_context("spawn")  # a fork would inherit the locks of other threads
        for _ in range(self.count):
            here, there = context.Pipe()
            process = context.Process(target=_work, args=(there, evaluator), daemon=True)
            with deaf():
                process.start()
            there.close()
            self._processes.append(process)
            self._pipes.append(here)

    @property
    def n_begun(self) -> int:
        """How many trials are under way."""
        return len(self._waiting) + len(self._busy)

    def begin(self, job: Job) -> None:
        """Begin a trial; one must be free."""
        if not self._pipes:
            self._waiting.append(job)
            return
        free = next(index for index in range(self.count) if index not in self._busy)
        self._busy[free] = job
        try:
            self._pipes[free].send(job)
        except ConnectionError as error:
            raise self._death(free, job) from error

    def next(self) -> tuple[Job, Outcome]:
        """Wait for the end of a trial; of several in one process, the earliest comes first.

        Raises:
            SearchError: If a process has died, or cannot load the evaluator.
        """
        if not self._pipes:
            job = self._waiting.pop(0)
            return job, _outcome(self._evaluator, job)
        ready = wait([self._pipes[index] for index in self._busy])
        index = min(i for i in self._busy if self._pipes[i] in ready)
        job = self._busy.pop(index)
        try:
            outcome: Outcome = self._pipes[index].recv()
        except (EOFError, ConnectionError) as error:
            raise self._death(index, job) from error
        if isinstance(outcome, SearchError):
            raise outcome
        return job, outcome

    def _death(self, index: int, job: Job) -> SearchError:
        self._processes[index].join(1)
        return SearchError(
            f"the process of trial {job.number} died (exit code "
            f"{self._processes[index].exitcode}); use fewer jobs if memory ran out, and in a "
            "script call the search below `if __name__ == '__main__':`"
        )

    def __enter__(self) -> Workers:
        """Do nothing: the processes run already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the processes at once; what they have not finished is lost."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()


def _pickled(evaluator: Evaluator) -> bytes:
    try:
        data: bytes = cloudpickle.dumps(evaluator)
    except Exception as error:
        raise SearchError(
            f"several jobs need a model, a task and objectives that can be copied to other "
            f"processes, but: {error}; use one job"
        ) from error
    return data


def _work(pipe: Connection, evaluator: bytes) -> None:
    """Make trials in a process of its own until the other end is closed."""
    with suppress(EOFError, ConnectionError):
        try:
            own: Evaluator = cloudpickle.loads(evaluator)
        except Exception as error:  # whatever a user's classes raise
            pipe.recv()
            pipe.send(SearchError(f"another process cannot load the task: {error}; use one job"))
            return
        while True:
            pipe.send(_outcome(own, pipe.recv()))


def _outcome(evaluator: Evaluator, job: Job) -> Outcome:
    try:
        return evaluator.attempt(*job)
    except AutocompressError as error:
        return error
