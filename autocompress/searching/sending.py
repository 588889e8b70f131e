"""Errors on their way from one process to another, with what a user's own code raised."""

from __future__ import annotations

import pickle
import traceback
from dataclasses import dataclass

import cloudpickle

from autocompress.errors import AutocompressError


@dataclass(frozen=True)
class Sent:
    """An error, ready to be sent.

    Attributes:
        kind: Its class; None of what this package has not raised, which is its own cause.
        message: Its message.
        cause: What it was raised from, pickled; None where there was nothing, or that cannot be.
        trace: The traceback of the cause, as a text.
    """

    kind: type[AutocompressError] | None
    message: str
    cause: bytes | None = None
    trace: str = ""

    @classmethod
    def of(cls, error: Exception) -> Sent:
        """Make an error ready; nothing of it fails."""
        kind = type(error) if isinstance(error, AutocompressError) else None
        cause = error if kind is None else error.__cause__
        if cause is None:
            return cls(kind, str(error))
        trace = "".join(traceback.format_exception(cause))
        try:
            data = cloudpickle.dumps(cause)
            pickle.loads(data)
        except Exception:  # whatever a user's class raises
            data = None
        return cls(kind, str(error), data, trace)

    def error(self) -> BaseException:
        """Make the error anew; the traceback is a note of its cause."""
        if not self.trace:
            assert self.kind is not None
            return self.kind(self.message)
        cause = self._cause()
        cause.add_note(f"in another process:\n{self.trace}")
        if self.kind is None:
            return cause
        error = self.kind(self.message)
        error.__cause__ = cause
        return error

    def _cause(self) -> BaseException:
        try:
            cause = pickle.loads(self.cause) if self.cause is not None else None
        except Exception:  # whatever a user's class raises
            cause = None
        return cause if isinstance(cause, BaseException) else RuntimeError(self.message)
