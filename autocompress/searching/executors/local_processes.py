"""Several jobs at a time, in as many processes on this machine."""

from __future__ import annotations

import pickle
from collections import Counter
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

import cloudpickle

from autocompress.errors import AutocompressError, OutOfMemoryError, SearchError
from autocompress.searching.executors.base import Outcome, outcome_of, pickled, received
from autocompress.searching.jobs import Bench, Job
from autocompress.searching.sending import Sent
from autocompress.support import progress
from autocompress.support.signals import interrupts_ignored

_MOST_KILLED = 3  # as Dask has it
_DYING_S = 10  # of a busy machine, from the end of a pipe to that of its process


class LocalProcesses:
    """Does several jobs side by side in as many processes, each on one processor core.

    A process that is killed, as the system does where memory runs out, is replaced, and does its
    job again; a job with which three were killed has failed.
    """

    def __init__(self, bench: Bench, capacity: int) -> None:
        """Start the processes.

        Args:
            bench: Copied to each; tasks, models and objectives may be anything that cloudpickle
                can copy.
            capacity: How many there are to be.

        Raises:
            SearchError: If the bench cannot be copied.
        """
        self.capacity = capacity
        self._busy: dict[int, Job] = {}
        self._killed: Counter[str] = Counter()
        self._bench = pickled(bench)
        self._processes: list[Any] = []
        self._pipes: list[Connection] = []
        for _ in range(capacity):
            process, pipe = self._started()
            self._processes.append(process)
            self._pipes.append(pipe)

    def _started(self) -> tuple[Any, Connection]:
        """Start a process; return it, and the pipe to it."""
        context = get_context("spawn")  # a fork would inherit the locks of other threads
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(there, self._bench), daemon=True)
        with interrupts_ignored():
            process.start()
        there.close()
        return process, here

    @property
    def n_begun(self) -> int:
        """How many jobs are under way."""
        return len(self._busy)

    def begin(self, job: Job) -> None:
        """Send a job to a process that has none.

        Raises:
            SearchError: If that process has ended by itself.
        """
        free = next(index for index in range(self.capacity) if index not in self._busy)
        self._busy[free] = job
        try:
            self._pipes[free].send(job)
        except ConnectionError as error:  # it was killed while it did nothing
            self._replace(free, job, error)
            self._pipes[free].send(job)

    def next(self) -> tuple[Job, Outcome]:
        """Wait for the end of a job.

        Raises:
            SearchError: If a process has ended by itself, or cannot load the bench.
        """
        while True:
            ready = wait([self._pipes[index] for index in self._busy])
            index = min(i for i in self._busy if self._pipes[i] in ready)
            job = self._busy.pop(index)
            try:
                outcome: Outcome | Sent = self._pipes[index].recv()
            except (EOFError, ConnectionError) as error:
                code = self._replace(index, job, error)
                self._killed[job.title] += 1
                if self._killed[job.title] == _MOST_KILLED:
                    return job, OutOfMemoryError(
                        f"its process was killed {_MOST_KILLED} times (exit code {code}), as the "
                        "system does where memory runs out; use fewer jobs"
                    )
                progress.say(f"the process of {job.title} was killed (exit code {code}): again")
                self.begin(job)
                continue
            found = received(outcome)
            if isinstance(found, SearchError):
                raise found
            return job, found

    def _replace(self, index: int, job: Job, error: Exception) -> int:
        """Start another process in place of one that was killed; return its exit code.

        Raises:
            SearchError: If it was not killed, but has ended by itself: so would the next.
        """
        self._processes[index].join(_DYING_S)
        code: int | None = self._processes[index].exitcode
        if code is None or code >= 0:
            raise SearchError(
                f"the process of {job.title} died (exit code {code}); use fewer jobs if memory "
                "ran out, and in a script call the search below `if __name__ == '__main__':`"
            ) from error
        self._pipes[index].close()
        self._processes[index], self._pipes[index] = self._started()
        return code

    def __enter__(self) -> LocalProcesses:
        """Do nothing: the processes run already."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes at once; what they have not finished is lost."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()


def _work(pipe: Connection, bench: bytes) -> None:
    """Do jobs in a process of its own until the other end is closed."""
    progress.console.quiet = True  # several would write over each other
    with suppress(EOFError, ConnectionError):
        try:
            own: Bench = cloudpickle.loads(bench)
        except Exception as error:  # whatever a user's classes raise
            pipe.recv_bytes()
            reason = f"another process cannot load the task: {error}; use one job"
            pipe.send(Sent.of(SearchError(reason)))
            return
        while True:
            pipe.send(_to_be_sent(own, pipe.recv_bytes()))


def _to_be_sent(bench: Bench, job: bytes) -> Outcome | Sent:
    try:
        outcome = _outcome_there(bench, job)
    except Exception as error:  # raised anew in the first process
        return Sent.of(error)
    return Sent.of(outcome) if isinstance(outcome, AutocompressError) else outcome


def _outcome_there(bench: Bench, job: bytes) -> Outcome:
    try:
        own: Job = pickle.loads(job)
    except Exception as error:  # such as for classes that only a notebook knows
        return SearchError(
            f"another process cannot load a plan: {error}; register methods of your own in a "
            "module or a script, or use one job"
        )
    return outcome_of(bench, own)
