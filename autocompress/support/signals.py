"""Ctrl-C at the right moment: never while a file or a database is being written."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back until the block is done.

    An interrupt in the middle of a transaction would leave its database locked. Only the main
    thread receives interrupts; elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[tuple[int, FrameType | None]] = []
    previous = signal.signal(signal.SIGINT, lambda *call: caught.append(call))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if caught and callable(previous):
        previous(*caught[0])


@contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C; a process started within goes on ignoring it.

    A terminal sends Ctrl-C to all processes of a command, but what it means is for the first of
    them to decide. Only the main thread can do this; elsewhere it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
