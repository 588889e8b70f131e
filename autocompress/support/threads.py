"""One processor core for one job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch and numpy use one thread, and afterwards as many as before.

    For work on matrices so small that two threads gain little where both cores are idle, and lose
    far more where another process has one of them; and for jobs side by side, which share the
    cores.
    """
    threads = torch.get_num_threads()
    with threadpool_limits(limits=1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
