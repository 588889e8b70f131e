"""How many threads work takes: one for a job or a part of a model, or as many as are quickest."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Self

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from autocompress.support.process import same_randomness

_STEPS = 2  # that tell how quick a number of threads is
_SHARE = 0.05  # of the time, for steps on other numbers of threads
_CLEARLY_SLOWER, _QUICKER = 1.5, 0.95


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
    before = torch.get_num_threads()
    outside: list[int] = []

    def enter(*_: Any) -> None:
        outside.append(torch.get_num_threads())
        torch.set_num_threads(1)

    def leave(*_: Any) -> None:
        torch.set_num_threads(outside.pop())

    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, before)
        for module in modules:
            stack.callback(module.register_forward_pre_hook(enter).remove)
            stack.callback(module.register_forward_hook(leave, always_call=True).remove)
        yield


def clip_gradients(parameters: Iterable[Tensor], most: float) -> None:
    """Shorten gradients to a norm; computed on one thread, since its sum depends on their number.

    Args:
        parameters: What has the gradients.
        most: The largest norm of all together.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        nn.utils.clip_grad_norm_(parameters, most)
    finally:
        torch.set_num_threads(before)


class Threads:
    """Chooses on how many threads steps of the same work are done, by how long they take.

    Where nothing else runs, all threads are the quickest. Where another process has one of the
    cores, threads wait for each other many times a step, and one thread is the quickest, for small
    layers by far. Both may change at any time, so that other numbers are tried now and then, for
    at most a twentieth of the time. The first steps are done on one thread, whose worst is known.

    Attributes:
        count: The number of threads of the next step.
    """

    def __init__(
        self, counts: Iterable[int] = (), clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """Choose from several numbers of threads.

        Args:
            counts: The numbers; by default one, as many as torch uses now, and half as many.
            clock: Tells the time in seconds.
        """
        most = torch.get_num_threads()
        self._counts = sorted(set(counts) or {1, max(most // 2, 1), most})
        self._clock = clock
        self.count = self._chosen = self._counts[0]
        self._recent: deque[float] = deque(maxlen=_STEPS)  # seconds, of steps on the chosen number
        self._tried: list[float] = []
        self._untried = list(self._counts[1:])
        self._wait = self._cost = 0.0
        self._is_warm = False

    @classmethod
    def exact(cls, compute: Callable[[], Iterable[Tensor]]) -> Self:
        """Choose freely if that changes no bit of a result; if it does, keep the present number.

        Args:
            compute: Does a step of the work and returns what it gives; called a few times, with
                the same random numbers.
        """
        threads = cls()
        counts, before = threads._counts, torch.get_num_threads()
        results = []
        try:
            for count in counts if len(counts) > 1 else ():
                torch.set_num_threads(count)
                with same_randomness():
                    results.append([tensor.detach().clone() for tensor in compute()])
        finally:
            torch.set_num_threads(before)
        same = all(
            torch.equal(one, other)
            for result in results[1:]
            for one, other in zip(results[0], result, strict=True)
        )
        return threads if same else cls([before])

    @contextmanager
    def step(self) -> Iterator[None]:
        """Do one step on the number of threads that is chosen, and learn from its time."""
        if len(self._counts) == 1:
            yield
            return
        before, start = torch.get_num_threads(), self._clock()
        torch.set_num_threads(self.count)
        try:
            yield
        finally:
            torch.set_num_threads(before)
        self._learn(self._clock() - start)

    def _learn(self, seconds: float) -> None:
        if not self._is_warm:
            self._is_warm = True  # the first step of all is slow on any number
        elif self.count == self._chosen:
            self._recent.append(seconds)
            self._wait -= seconds
            if len(self._recent) == _STEPS and self._wait <= 0:
                self._untried = self._untried or [n for n in self._counts if n != self._chosen]
                self.count, self._tried = self._untried.pop(0), []
        else:
            self._tried.append(seconds)
            least = min(self._recent)
            if len(self._tried) == _STEPS or seconds > _CLEARLY_SLOWER * least:
                self._judge(least)

    def _judge(self, least: float) -> None:
        """Take the number that was tried if it was quicker; come back to others later."""
        if min(self._tried) < _QUICKER * least:
            self._chosen = self.count
            self._recent.extend(self._tried)
        self.count = self._chosen
        self._cost += sum(self._tried)
        if not self._untried:
            self._wait, self._cost = self._cost / _SHARE, 0.0
