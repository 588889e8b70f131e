"""What all executors have in common."""

from __future__ import annotations

import io
from typing import Protocol

import cloudpickle

from autocompress.errors import AutocompressError, OutOfMemoryError, SearchError
from autocompress.outcome.results import TrialResult
from autocompress.searching.jobs import Bench, Job
from autocompress.searching.sending import Sent
from autocompress.support.blame import first_line
from autocompress.support.memory import give_back, is_shortage
from autocompress.trial.looks import GivenUp

Outcome = TrialResult | GivenUp | AutocompressError
"""What a job has given, or the error that it failed with."""


class Executor(Protocol):
    """Does jobs."""

    @property
    def capacity(self) -> int:
        """How many jobs can be under way at a time; at least one."""

    @property
    def n_begun(self) -> int:
        """How many jobs are under way."""

    def begin(self, job: Job) -> None:
        """Begin a job; there must be room for it."""

    def next(self) -> tuple[Job, Outcome]:
        """Wait for the end of a job that is under way.

        Raises:
            SearchError: If what was to do it is lost, or cannot do any.
        """


def outcome_of(bench: Bench, job: Job) -> Outcome:
    """Do a job; errors of this package's own are its outcome, and that memory ran out."""
    try:
        return job.carry_out(bench)
    except AutocompressError as error:
        return error
    except (MemoryError, RuntimeError) as error:
        if not is_shortage(error):
            raise
        reason = first_line(error)
    # No longer with the error, whose traceback holds on to all that took the memory.
    give_back()
    return OutOfMemoryError(
        f"{job.title} ran out of memory ({reason}); use fewer jobs, or a machine with more of it"
    )


def pickled(bench: Bench, pickler: type[cloudpickle.Pickler] = cloudpickle.Pickler) -> bytes:
    """Make a bench ready to be copied to other processes.

    Args:
        bench: What jobs work with.
        pickler: Copies it.

    Raises:
        SearchError: If it cannot be copied.
    """
    data = io.BytesIO()
    try:
        pickler(data).dump(bench)
    except Exception as error:
        raise SearchError(
            f"several jobs need a model, a task and objectives that can be copied to other "
            f"processes, but: {error}; use one job"
        ) from error
    return data.getvalue()


def received(outcome: Outcome | Sent) -> Outcome:
    """Return what another process has sent.

    Raises:
        Exception: What is no error of this package's own, as it was raised there.
    """
    if not isinstance(outcome, Sent):
        return outcome
    failure = outcome.error()
    if not isinstance(failure, AutocompressError):
        raise failure
    return failure
