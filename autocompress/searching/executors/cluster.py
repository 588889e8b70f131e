"""Jobs on the workers of a Dask cluster, each placed and followed by this process."""

from __future__ import annotations

import threading
import uuid
from collections import deque
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import cloudpickle

from autocompress.errors import LostWorkersError, SearchError
from autocompress.searching.executors.base import Outcome
from autocompress.searching.executors.crew import Crew
from autocompress.searching.executors.handed_back import kept
from autocompress.searching.executors.remote import GPU, Done, carry_out, files_in
from autocompress.searching.jobs import Job
from autocompress.support import progress

_WAIT_S = 0.1
_MOST_KILLED = 3


@dataclass
class _Task:
    """A job, and how it fares.

    Attributes:
        job: The job.
        killed: How many workers were lost while they did it.
        future: Of Dask, while it is with a worker.
    """

    job: Job
    killed: int = 0
    future: Any = None


class OnCluster:
    """Does as many jobs at a time as there are workers, one on each.

    Where each job goes is decided here, so that it is known which jobs were with a worker that is
    lost. Those are done again by others, but a job with which three workers were lost has failed.
    Fine-tuning goes to workers that offer the resource "GPU", if any does. A job's files come
    back as bytes and are on this disk before its outcome is told.
    """

    def __init__(self, client: Any, crew: Crew) -> None:
        """Take the workers.

        Args:
            client: Of Dask.
            crew: They have the bench already.
        """
        self._client, self._crew = client, crew
        self._waiting: deque[_Task] = deque()
        self._busy: dict[str, _Task] = {}
        self._over: deque[tuple[Job, Outcome]] = deque()
        self._arrivals: SimpleQueue[tuple[_Task, Any, Done | BaseException]] = SimpleQueue()
        self._is_lonely = False

    @property
    def capacity(self) -> int:
        """How many workers there are; where there is none yet, one job waits for the first."""
        return max(len(self._crew.usable), 1)

    @property
    def n_begun(self) -> int:
        """How many jobs are with workers, or wait for one."""
        return len(self._waiting) + len(self._busy) + len(self._over)

    def begin(self, job: Job) -> None:
        """Give a job to a worker, or keep it until there is one."""
        self._waiting.append(_Task(job))
        self._assign()

    def next(self) -> tuple[Job, Outcome]:
        """Wait for the end of a job.

        Raises:
            SearchError: If the scheduler is gone.
            Exception: What a job raised that is no error of this package's own.
        """
        while not self._over:
            for address in self._crew.look():
                self._lose(address)
            self._assign()
            with suppress(Empty):
                self._arrive(*self._arrivals.get(timeout=_WAIT_S))
        return self._over.popleft()

    def cancel(self) -> None:
        """Have workers stop what they do for this search, within seconds."""
        futures = [task.future for task in self._busy.values()]
        self._busy.clear()
        self._waiting.clear()
        if futures:
            with suppress(Exception):  # the scheduler may be gone
                self._client.cancel(futures)

    def _assign(self) -> None:
        for task in tuple(self._waiting):
            address = self._free_for(task.job)
            if address is not None:
                self._waiting.remove(task)
                self._send(task, address)
        is_lonely = not self._crew.usable
        if is_lonely and not self._is_lonely:
            progress.say("the cluster has no worker that can be used: waiting for one")
        self._is_lonely = is_lonely

    def _free_for(self, job: Job) -> str | None:
        usable = self._crew.usable
        suited = [address for address in usable if job.trains and usable[address].get(GPU)]
        free = (address for address in suited or usable if address not in self._busy)
        return next(free, None)

    def _send(self, task: _Task, address: str) -> None:
        offers = self._crew.usable[address]
        future = task.future = self._client.submit(
            carry_out,
            self._crew.digest,
            cloudpickle.dumps(task.job),
            files_in(task.job.path.parent) if task.job.trains else {},
            key=f"autocompress {task.job.title} {uuid.uuid4().hex}",
            pure=False,
            workers=[address],
            allow_other_workers=False,
            resources={GPU: 1} if task.job.trains and offers.get(GPU) else None,
        )
        self._busy[address] = task

        def wait() -> None:
            try:
                done: Done | BaseException = future.result()
            except BaseException as error:
                done = error
            self._arrivals.put((task, future, done))

        threading.Thread(target=wait, daemon=True).start()

    def _lose(self, address: str) -> None:
        """Have what a lost worker was doing done by another one."""
        task = self._busy.pop(address, None)
        if task is None:
            return
        task.future.cancel()
        task.future, task.killed = None, task.killed + 1
        if task.killed < _MOST_KILLED:
            progress.say(f"the worker of {task.job.title} was lost: done again by another one")
            self._waiting.appendleft(task)
            return
        reason = (
            f"{task.killed} workers were lost while they did it, the last {address}; "
            "give workers more memory if that ran out"
        )
        self._over.append((task.job, LostWorkersError(reason)))

    def _arrive(self, task: _Task, future: Any, done: Done | BaseException) -> None:
        if task.future is not future:
            return  # of a worker that is lost; another one does it
        address = next(known for known, busy in self._busy.items() if busy is task)
        if isinstance(done, CancelledError | OSError) or (
            isinstance(done, Done) and done.outcome is None
        ):
            # The connection was lost for a moment, or another process has taken the address.
            self._again(task, address)
            return
        del self._busy[address]
        task.future = None  # a result that somebody holds is computed again where it is lost
        if isinstance(done, BaseException):
            reason = f"worker {address}: {type(done).__name__}: {done}"
            self._over.append((task.job, SearchError(reason)))
            return
        self._over.append((task.job, kept(task.job, done)))

    def _again(self, task: _Task, address: str) -> None:
        del self._busy[address]
        task.future = None
        self._crew.dismiss(address)
        self._waiting.appendleft(task)
