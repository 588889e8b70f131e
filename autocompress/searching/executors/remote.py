"""What workers of a cluster do: keep what jobs work with, and carry jobs out one by one."""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cloudpickle
import torch

from autocompress.errors import AutocompressError, SearchError
from autocompress.recovery import clean_up
from autocompress.searching.executors.base import Outcome, outcome_of
from autocompress.searching.executors.probe import facts
from autocompress.searching.jobs import Bench, Job
from autocompress.searching.sending import Sent
from autocompress.support import progress

GPU = "GPU"
"""The resource that workers offer which have a graphics processor."""
Files = Mapping[str, bytes]
"""The content of files of one folder, by their names."""

_MOST_BENCHES = 2  # a cluster may work for two searches at a time
_LOOK_S = 1.0
HERE = facts("autocompress")  # as it was imported; the disk may have other code by now
_benches: OrderedDict[str, Bench] = OrderedDict()
_alone = threading.Lock()  # threads of a process share torch's settings and random numbers


@dataclass(frozen=True)
class Done:
    """What has come of a job.

    Attributes:
        outcome: What it has given; None where the worker lacks what it works with.
        files: What it has written beside.
    """

    outcome: Outcome | Sent | None
    files: Files


def lacks(digest: str, code: str) -> str | bool:
    """Tell whether this worker lacks a bench, or why it cannot use any.

    Args:
        digest: Of the bench.
        code: Hash of the package's code.
    """
    if code != HERE["code"]:
        return f"it still runs another version of autocompress (code {HERE['code']}); restart it"
    return digest not in _benches


async def adopt(digest: str, data: bytes, dask_worker: Any) -> str | None:
    """Keep a bench; say why that fails, or return None.

    Args:
        digest: By which jobs ask for it.
        data: The bench.
        dask_worker: This worker, which Dask adds. Where it offers "GPU", models run on that.
    """
    takes_gpu = bool(dask_worker.state.total_resources.get(GPU)) and torch.cuda.is_available()
    # In a thread, since a large model would else keep the worker from answering for seconds.
    return await asyncio.get_running_loop().run_in_executor(
        None, _adopt, digest, data, "cuda" if takes_gpu else "cpu"
    )


def _adopt(digest: str, data: bytes, device: str) -> str | None:
    try:
        bench: Bench = cloudpickle.loads(data)
        bench.model.to(device)
        if bench.teacher is not None:
            bench.teacher.to(device)
        bench.evaluator.engine.run_on(device)
        _benches[digest] = bench
    except Exception as error:  # whatever a user's classes raise
        return f"it cannot load the task ({error}); install there what the task needs"
    while len(_benches) > _MOST_BENCHES:
        _benches.popitem(last=False)
    return None


def carry_out(digest: str, job: bytes, files: Files) -> Done:
    """Do a job in a folder of its own.

    Args:
        digest: Of the bench.
        job: The job, pickled.
        files: What lies in its folder already.
    """
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def is_cancelled() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state == "cancelled"

    with suppress(_Cancelled), _alone, stopped_when(is_cancelled):
        bench = _benches.get(digest)
        if bench is None:
            return Done(None, {})
        _benches.move_to_end(digest)
        progress.console.quiet = True  # a worker's terminal is nobody's
        torch.set_num_threads(worker.state.nthreads)
        with TemporaryDirectory(dir=worker.local_directory) as folder:
            return _done(bench, job, files, Path(folder))
    return Done(Sent.of(SearchError("the job was cancelled")), {})


def _done(bench: Bench, job: bytes, files: Files, folder: Path) -> Done:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    try:
        outcome = _outcome(bench, job, folder)
    except Exception as error:  # raised anew where the search is
        return Done(Sent.of(error), {})
    if isinstance(outcome, AutocompressError):
        return Done(Sent.of(outcome), {})
    clean_up(folder)
    return Done(outcome, files_in(folder))


def _outcome(bench: Bench, job: bytes, folder: Path) -> Outcome:
    try:
        own: Job = cloudpickle.loads(job)
    except Exception as error:  # such as for methods that only a notebook knows
        return SearchError(
            f"a worker cannot load a plan: {error}; register methods of your own in a module that "
            "is installed there"
        )
    return outcome_of(bench, own.at(folder / own.path.name))


def files_in(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder that are not hidden; of none where there is no folder."""
    if not folder.is_dir():
        return {}
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith(".")
    }


class _Cancelled(BaseException):
    """Nobody waits any longer for what a thread does. No `except Exception` keeps it."""


@contextmanager
def stopped_when(is_cancelled: Callable[[], bool]) -> Iterator[None]:
    """End the block, at a line of Python in it, within seconds of a condition.

    A training that nobody waits for would else keep its worker busy for as long as it takes.
    """
    own, over, deciding = threading.get_ident(), threading.Event(), threading.Lock()

    def watch() -> None:
        while not over.wait(_LOOK_S):
            with deciding:
                if not over.is_set() and is_cancelled():
                    _raise_in(own, _Cancelled)
                    return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        with deciding:
            over.set()


def _raise_in(thread: int, error: type[BaseException]) -> None:
    python: Any = ctypes.pythonapi
    python.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))
