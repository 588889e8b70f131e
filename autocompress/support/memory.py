"""Memory that a process has freed."""

from __future__ import annotations

import ctypes
import sys

_LARGE = 2**20


def give_back_beside(size: int) -> None:
    """As `give_back`, beside so many numbers that it is worth its time."""
    if size > _LARGE:
        give_back()


def give_back() -> None:
    """Return to the system what was freed, where the C library keeps it: glibc does so.

    Copies of weights that were freed would else add to the peak of what comes after them.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of other C libraries, there is none
    if trim is not None:
        trim(ctypes.c_size_t(0))
