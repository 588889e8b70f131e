"""Ctrl-C at the right moment: never while a file or a database is being written."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# SIGTERM is sent by schedulers and `timeout`, SIGHUP by a terminal that is closed.
_STOPS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Stopped(KeyboardInterrupt):
    """Another program has asked this one to end.

    Attributes:
        number: Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def stops_as_interrupts() -> Iterator[None]:
    """Have signals by which other programs stop this one end the block as Ctrl-C does.

    One that is ignored, as under `nohup`, or handled already stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    own = [number for number in _STOPS if signal.getsignal(number) is signal.SIG_DFL]
    for number in own:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in own:
            signal.signal(number, signal.SIG_DFL)


def _stop(number: int, frame: FrameType | None) -> None:
    del frame
    raise Stopped(number)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back until the block is done, and what else stops a process as it does.

    An interrupt in the middle of a transaction would leave its database locked, and in the middle
    of pydantic's validation it would be told as a finding: of a file that is whole. Only the main
    thread receives interrupts; elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[tuple[int, FrameType | None]] = []
    previous = {number: signal.getsignal(number) for number in _STOPS}
    handled = [number for number in _STOPS if callable(previous[number])]
    for number in handled:
        signal.signal(number, lambda *call: caught.append(call))
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, previous[number])
    if caught:
        handler = previous[signal.Signals(caught[0][0])]
        assert callable(handler)
        handler(*caught[0])


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
