"""Memory that a process has freed."""

from __future__ import annotations

import ctypes
import sys

_LARGE = 2**20


# What PyTorch says of ordinary memory: it has no class for that.
_SHORT = ("can't allocate memory", "not enough memory", "out of memory")


def is_shortage(error: BaseException) -> bool:
    """Whether an error tells that memory has run out, also that of a GPU."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _SHORT)


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
