"""Progress on stderr: a live bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_PLAIN_INTERVAL_S = 5.0
console = Console(stderr=True, highlight=False, soft_wrap=True)


class Bar(Protocol):
    """What the work reports to."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count `steps` as done and show `note` behind the count."""


class _RichBar:
    def __init__(self, progress: Progress, label: str, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task(label, total=total, note="")

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._progress.update(self._task, advance=steps, note=note)


class _PlainBar:
    def __init__(self, label: str, total: int | None) -> None:
        self._label, self._total, self._done = label, total, 0
        self._last = time.monotonic() - _PLAIN_INTERVAL_S

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._done += steps
        now = time.monotonic()
        if self._done == self._total or now - self._last >= _PLAIN_INTERVAL_S:
            self._last = now
            of = "" if self._total is None else f"/{self._total}"
            say(f"{self._label}: {self._done}{of} {note}".rstrip())


@contextmanager
def bar(label: str, total: int | None) -> Iterator[Bar]:
    """Show the progress of `total` steps of work called `label`; None if nobody knows."""
    if not console.is_terminal:
        yield _PlainBar(label, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield _RichBar(progress, label, total)


def say(line: str) -> None:
    """Print one line on stderr, above any live bar."""
    console.print(line, markup=False)
