"""Memory that a process has freed."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Return to the system what was freed, where the C library keeps it: glibc does so.

    Copies of weights that were freed would else add to the peak of what comes after them.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of other C libraries, there is none
    if trim is not None:
        trim(ctypes.c_size_t(0))
