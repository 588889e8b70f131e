"""What workers of a cluster hand back: looked at before it is believed, or written anywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from autocompress.artifact.container import parse_container
from autocompress.errors import ArtifactError, AutocompressError, SearchError
from autocompress.outcome.names import SIZE
from autocompress.outcome.numbers import is_number, number_of
from autocompress.outcome.results import TrialResult
from autocompress.plan import CompressionPlan
from autocompress.searching.executors.base import Outcome, received
from autocompress.searching.executors.remote import Done
from autocompress.searching.jobs import Job
from autocompress.searching.sending import Sent
from autocompress.support.files import is_plain_name, write_whole
from autocompress.trial.looks import GivenUp

_SHOWN = 60


def kept(job: Job, done: Done) -> Outcome:
    """Write the files of a job, and return its outcome; an error where either cannot be true.

    Args:
        job: The job that was to be done.
        done: What a worker has handed back for it, of which nothing is sure.

    Raises:
        Exception: What the job raised that is no error of this package's own.
        OSError: If a file cannot be written.
    """
    reason = _strange(done.outcome, done.files)
    if reason is not None:
        return SearchError(f"a worker has sent {reason}; restart it with this version")
    assert done.outcome is not None
    outcome = received(done.outcome)
    reason = _untrue(job, outcome, done.files)
    if reason is not None:
        return SearchError(f"a worker has sent {reason}; restart it with this version")
    for name, content in done.files.items():
        write_whole(job.path.with_name(name), content)
    return outcome


def _strange(outcome: Any, files: Any) -> str | None:
    """Say what is not of the kind that it should be, or None."""
    if not isinstance(outcome, TrialResult | GivenUp | Sent | AutocompressError):
        return f"an outcome of type {type(outcome).__name__}, which is none"
    if isinstance(outcome, Sent) and not _is_error(outcome):
        return "an error that is none"
    if not isinstance(files, Mapping):
        return f"files as {type(files).__name__} instead of a table"
    for name, content in files.items():
        if not is_plain_name(name):
            return f"a file named {repr(name)[:_SHOWN]}, which is no plain name"
        if not isinstance(content, bytes):
            return f"a file that holds no bytes, but {type(content).__name__}"
    return None


def _is_error(sent: Any) -> bool:
    kind, cause = sent.kind, sent.cause
    return (
        (kind is None or (isinstance(kind, type) and issubclass(kind, AutocompressError)))
        and isinstance(sent.message, str)
        and isinstance(sent.trace, str)
        and (cause is None or isinstance(cause, bytes))
        and (kind is not None or bool(sent.trace))
    )


def _untrue(job: Job, outcome: Any, files: Mapping[str, bytes]) -> str | None:
    """Say what cannot be true of an outcome, or None."""
    if isinstance(outcome, AutocompressError):
        return None
    if type(outcome.number) is not int or outcome.number != job.number:
        return f"what came of trial {repr(outcome.number)[:_SHOWN]} for {job.title}"
    if isinstance(outcome, GivenUp):
        is_told = isinstance(outcome.reason, str) and _are_numbers(outcome.excesses)
        return None if is_told else "a plan given up without a reason and numbers"
    if not isinstance(outcome.plan, CompressionPlan):
        return "a result without its plan"
    if not _are_numbers(outcome.values) or not all(map(_is_finite, outcome.values.values())):
        return "a result whose values are no finite numbers"
    if not _is_told(outcome):
        return "a result with a time, a loss or a rise that is no number"
    if SIZE not in outcome.values:
        return "a result without the size of its file"
    there = files.get(job.path.name)
    if there is not None and len(there) != outcome.size_bytes:
        return f"a file of {len(there)} bytes, and says of it that it has {outcome.size_bytes}"
    return None if there is None else _damaged(job, there)


def _is_told(result: TrialResult) -> bool:
    times = (result.started, result.seconds, result.cpu_seconds)
    return (
        all(map(_is_finite, times))
        and isinstance(result.losses, tuple)
        and all(map(_is_float, result.losses))
        and _are_numbers(result.rises)
        and (result.predicted is None or _is_float(result.predicted))
        and isinstance(result.feasible, bool)
        and isinstance(result.rejected, str | None)
    )


def _are_numbers(values: object) -> bool:
    return isinstance(values, Mapping) and all(
        isinstance(name, str) and _is_float(value) for name, value in values.items()
    )


def _is_float(value: object) -> bool:
    """Whether a value is a number, which may be infinite or NaN, that a float can be."""
    try:
        return is_number(value) and isinstance(number_of(value), float)
    except ValueError:  # too large
        return False


def _is_finite(value: Any) -> bool:
    return _is_float(value) and math.isfinite(value)


def _damaged(job: Job, content: bytes) -> str | None:
    """Say why a file is no artifact that can be opened, or None."""
    try:
        parse_container(job.path, content)
    except ArtifactError as error:
        return f"a file that cannot be used: {error}"
    return None
