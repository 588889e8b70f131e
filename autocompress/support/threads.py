"""One processor core for one job, or for a part of a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import nn


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


@contextmanager
def modules_on_one_thread(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Run some modules of a model on one thread in torch, all else on as many as before.

    Switching threads at the edge of a module is quick, limiting numpy's too is not.
    """
    threads = torch.get_num_threads()

    def enter(*_: Any) -> None:
        torch.set_num_threads(1)

    def leave(*_: Any) -> None:
        torch.set_num_threads(threads)

    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, threads)
        for module in modules:
            stack.callback(module.register_forward_pre_hook(enter).remove)
            stack.callback(module.register_forward_hook(leave, always_call=True).remove)
        yield
