"""Inputs made one by one from a seed, each read, and what must not happen told."""

from __future__ import annotations

import resource
import signal
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from types import FrameType
from typing import Any, Protocol

LONGEST_S = 5.0
MOST_MEMORY = 10**9
_SHOWN = 200


class Subject(Protocol):
    """A kind of input.

    Attributes:
        name: What to call it.
        allowed: The documented errors of whoever reads it.
    """

    @property
    def name(self) -> str:
        """What to call it."""

    @property
    def allowed(self) -> tuple[type[Exception], ...]:
        """The documented errors of whoever reads it."""

    def made(self, random: Random) -> Any:
        """Make an input."""

    def read(self, data: Any) -> None:
        """Read an input as users do."""


@dataclass
class Told:
    """What has come of many inputs.

    Attributes:
        n_inputs: How many there were.
        errors: How many ended in an error, by its class.
        slowest_s: The longest processor time that one took to be read.
        slowest: Which one that was.
        largest: The largest resident memory of the process, in bytes.
        faults: What must not happen: the number of the input, and what.
    """

    n_inputs: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    slowest: int = -1
    largest: int = 0
    faults: list[tuple[int, str]] = field(default_factory=list)


class TooLong(BaseException):
    """An input takes too long; no `except Exception` keeps it."""


def input_of(subject: Subject, seed: int, number: int) -> Any:
    """Make the input that has a number."""
    return subject.made(Random(f"{subject.name} {seed} {number}"))


def run(subject: Subject, seed: int, numbers: range, *, tell: Any = None) -> Told:
    """Make and read inputs.

    Args:
        subject: What kind.
        seed: With a number it makes an input.
        numbers: Of the inputs.
        tell: Is called with each number before its input is made.
    """
    told = Told(largest=_memory())
    with warnings.catch_warnings(), _no_longer():
        warnings.simplefilter("error")
        for number in numbers:
            if tell is not None:
                tell(number)
            _one(told, subject, seed, number)
    return told


def _one(told: Told, subject: Subject, seed: int, number: int) -> None:
    data = input_of(subject, seed, number)
    start = time.process_time()
    try:
        signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
        fault = _fault_of(told, subject, data)
        signal.setitimer(signal.ITIMER_PROF, 0)
    except TooLong:
        fault = f"takes more than {LONGEST_S} s"
    taken = time.process_time() - start
    told.n_inputs += 1
    if taken > told.slowest_s:
        told.slowest_s, told.slowest = taken, number
    memory = _memory()
    if memory > max(told.largest, MOST_MEMORY):
        fault = f"the process has grown to {memory / 1e6:.0f} MB"
    told.largest = max(told.largest, memory)
    if fault is not None:
        told.faults.append((number, fault))


def _fault_of(told: Told, subject: Subject, data: Any) -> str | None:
    """Read an input; say what must not happen and has."""
    try:
        subject.read(data)
    except TooLong:
        raise
    except subject.allowed as error:
        told.errors[type(error).__name__] += 1
        return _misspelt(error)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:_SHOWN] + _where(error)
    return None


def _misspelt(error: Exception) -> str | None:
    """Say what is wrong with the message of an error: it is to be one line that can be printed."""
    text = str(error)
    if len(text.splitlines()) != 1:
        return f"{type(error).__name__} of {len(text.splitlines())} lines: {text[:_SHOWN]!r}"
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"{type(error).__name__} that cannot be printed: {text[:_SHOWN]!r}"
    return None


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "autocompress" in frame.filename] or list(frames)
    return f" in {own[-1].filename.rpartition('autocompress/')[2]}:{own[-1].lineno}"


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def _no_longer() -> Iterator[None]:
    def over(number: int, frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGPROF, over)
    try:
        yield
    finally:
        signal.signal(signal.SIGPROF, before)
