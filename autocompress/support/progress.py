"""Progress on stderr: a live bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from autocompress.errors import printable

_PLAIN_INTERVAL_S = 5.0
_MINUTE, _HOUR = 60, 3600
_NARROW, _BAR_WIDTHS = 100, (10, 24)
console = Console(stderr=True, highlight=False, soft_wrap=True)


class Bar(Protocol):
    """What the work reports to."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count `steps` as done and show `note` behind the count."""


class Clock:
    """Tells how long some work will still take, however slow its steps are.

    A step under way counts by the time that it has taken so far, so that the estimate falls from
    second to second. What was done before the clock was started took no time.
    """

    def __init__(self, total: int | None, done: int = 0, deadline: float = math.inf) -> None:
        """Start it.

        Args:
            total: Steps of the work; None if nobody knows.
            done: How many of them were done before.
            deadline: When the work ends at the latest, by `time.perf_counter`.
        """
        self._total, self._before, self.done, self._deadline = total, done, done, deadline
        self._start = self._last = time.perf_counter()

    def advance(self, steps: int) -> None:
        """Count steps as done now."""
        self.done += steps
        self._last = time.perf_counter()

    @property
    def left(self) -> float | None:
        """Seconds until the end, or None as long as no step is done that tells."""
        now, here = time.perf_counter(), self.done - self._before
        left = max(self._deadline - now, 0.0)
        if self._total is not None and here:
            pace = (self._last - self._start) / here
            left = min(left, max(pace * (self._total - self.done) - (now - self._last), 0.0))
        return None if math.isinf(left) else left

    @property
    def text(self) -> str:
        """What is left, as in "1:40 left"; nothing if it is not known, or at the end."""
        left = self.left
        if left is None or self.done == self._total:
            return ""
        seconds = round(left)
        minutes = f"{seconds // _MINUTE % _MINUTE}:{seconds % _MINUTE:02d}"
        hours = f"{seconds // _HOUR}:{minutes:0>5}" if seconds >= _HOUR else minutes
        return f"{hours} left"


class _LeftColumn(ProgressColumn):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def render(self, task: Task) -> Text:
        del task
        return Text(self._clock.text, "cyan")


class _RichBar:
    def __init__(self, progress: Progress, label: str, total: int | None, clock: Clock) -> None:
        self._progress, self._clock = progress, clock
        self._task = progress.add_task(label, total=total, completed=clock.done, note="")

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._clock.advance(steps)
        self._progress.update(self._task, advance=steps, note=note)


class _PlainBar:
    def __init__(self, label: str, total: int | None, clock: Clock) -> None:
        self._label, self._total, self._clock = label, total, clock
        self._last = time.monotonic() - _PLAIN_INTERVAL_S

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._clock.advance(steps)
        now, done = time.monotonic(), self._clock.done
        if done == self._total or now - self._last >= _PLAIN_INTERVAL_S:
            self._last = now
            of = "" if self._total is None else f"/{self._total}"
            parts = [f"{self._label}: {done}{of}", self._clock.text, note]
            say(", ".join(filter(None, parts)))


@contextmanager
def bar(
    label: str, total: int | None, *, done: int = 0, deadline: float = math.inf
) -> Iterator[Bar]:
    """Show the progress of some work, and how long it will still take.

    Args:
        label: What to call it.
        total: Steps of the work; None if nobody knows.
        done: How many of them were done before.
        deadline: When it ends at the latest, by `time.perf_counter`.
    """
    clock = Clock(total, done, deadline)
    if not console.is_terminal:
        yield _PlainBar(label, total, clock)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=_BAR_WIDTHS[console.width >= _NARROW]),
        MofNCompleteColumn(),
        _LeftColumn(clock),
        # Broken between words rather than cut.
        TextColumn("{task.fields[note]}", markup=False, table_column=Column(ratio=1)),
    )
    with Progress(
        *columns, console=console, transient=True, refresh_per_second=4, expand=True
    ) as progress:
        yield _RichBar(progress, label, total, clock)


def say(line: str) -> None:
    """Print one line on stderr, above any live bar; in a terminal it breaks between words."""
    line = printable(line)
    if console.is_terminal:
        line = between_words(line, console.width)
    console.print(line, markup=False)


def between_words(line: str, width: int) -> str:
    """Break a line where a terminal ends; what is one word, such as a path, stays whole."""
    return textwrap.fill(line, max(width, 1), break_long_words=False, break_on_hyphens=False)
