"""How long models take for an input, side by side in one process."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from autocompress.engines.base import Latency

_WARM_UP = 20
_FEWEST_ROUNDS, _MOST_ROUNDS = 15, 200
_NOISE = 0.01
_MEDIAN_ERROR = 1.2533  # of the median, in standard errors of the mean, for normal values

_Input = TypeVar("_Input")


def measure(
    models: Mapping[str, Callable[[_Input], object]], inputs: Sequence[_Input], reference: str
) -> dict[str, Latency]:
    """Time models on the same inputs in turn, until the ratios to the reference are steady.

    Each round lets every model read all inputs, one at a time. What disturbs the machine disturbs
    all models of a round, so ratios are taken within rounds; rounds go on until the standard error
    of each median ratio is below 1 %, or there were 200.

    Args:
        models: By name, what reads one input.
        inputs: So many that they take far longer than a tick of the clock.
        reference: The model that the others are compared with.
    """
    times: dict[str, list[float]] = {name: [] for name in models}
    for read in models.values():
        for one in inputs[:_WARM_UP]:
            read(one)
    while True:
        for name, read in models.items():
            start = time.thread_time()
            for one in inputs:
                read(one)
            times[name].append((time.thread_time() - start) / len(inputs) * 1e3)
        found = {name: _summary(own, times[reference]) for name, own in times.items()}
        rounds = len(times[reference])
        steady = all(one.noise < _NOISE for one in found.values())
        if rounds >= _MOST_ROUNDS or (rounds >= _FEWEST_ROUNDS and steady):
            return found


def _summary(times: list[float], reference: list[float]) -> Latency:
    ratios = [own / other for own, other in zip(times, reference, strict=True)]
    ratio = statistics.median(ratios)
    spread = float(np.subtract(*np.quantile(ratios, [0.75, 0.25]))) / 1.349  # as of a normal one
    error = _MEDIAN_ERROR * spread / math.sqrt(len(ratios))
    return Latency(
        p50_ms=statistics.median(times),
        p95_ms=float(np.quantile(times, 0.95)),
        ratio=ratio,
        noise=error / ratio,
        rounds=len(ratios),
    )
