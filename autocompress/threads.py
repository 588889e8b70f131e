"""One processor core for one job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch and numpy use one thread, and afterwards as many as before.

    Matrices of compressed models are small: two threads gain little where both cores are idle,
    and lose far more where another process has one of them. Jobs side by side use all cores.
    """
    threads = torch.get_num_threads()
    with threadpool_limits(limits=1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
