"""How long an exported model takes for a word, beside another one in the same process."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

_WORDS = 40
_WARM_UP = 20
_FEWEST_ROUNDS, _MOST_ROUNDS = 15, 200
_NOISE = 0.01
_MEDIAN_ERROR = 1.2533  # of the median, in standard errors of the mean, for normal values


@dataclass(frozen=True)
class Latency:
    """What one model takes for a word, one text at a time, on one thread.

    Attributes:
        p50_ms: Median over rounds of the mean over the words of a round, in milliseconds of
            processor time.
        p95_ms: The 95th percentile of the same.
        ratio: Median over rounds of how many times as long as the reference the model takes.
        noise: Standard error of that median, in shares of it.
        rounds: How many rounds there were.
    """

    p50_ms: float
    p95_ms: float
    ratio: float
    noise: float
    rounds: int


class Stepper:
    """A step model that reads one endless text, its states kept inside ONNX Runtime.

    Inputs and outputs are bound once, as a program would that predicts word after word: the
    states that come out are those that go in next, and nothing is copied.

    Attributes:
        scores: What came out for the word that was read last: `logits`, or the top words.
    """

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        words, *states = session.get_inputs()
        scores = [one.name for one in session.get_outputs() if not one.name.endswith("_next")]
        # On the processor, an OrtValue shares the memory of its array.
        self._word = np.zeros((1, 1), np.int64)
        before, after = (
            {one.name: np.zeros((1, 1, one.shape[2]), np.float32) for one in states}
            for _ in range(2)
        )
        found = session.run(scores, {words.name: self._word, **before})
        self.scores = dict(zip(scores, found, strict=True))
        self._bindings = [self._bind(before, after), self._bind(after, before)]

    def _bind(
        self, before: Mapping[str, NDArray[Any]], after: Mapping[str, NDArray[Any]]
    ) -> onnxruntime.IOBinding:
        binding, value = self._session.io_binding(), onnxruntime.OrtValue.ortvalue_from_numpy
        for name, array in {"words": self._word, **before}.items():
            binding.bind_ortvalue_input(name, value(array))
        results = {**self.scores, **{f"{name}_next": array for name, array in after.items()}}
        for name, array in results.items():
            binding.bind_ortvalue_output(name, value(array))
        return binding

    def __call__(self, word: int) -> None:
        """Read the next word; the scores are in `scores`."""
        self._word[0, 0] = word
        self._session.run_with_iobinding(self._bindings[0])
        self._bindings.reverse()


def measure(
    models: Mapping[str, Callable[[int], object]], vocab_size: int, reference: str
) -> dict[str, Latency]:
    """Time models on the same words in turn, until the ratios to the reference are steady.

    Each round lets every model read 40 words. What disturbs the machine disturbs all models of
    a round, so ratios are taken within rounds; rounds go on until the standard error of each
    median ratio is below 1 %, or there were 200.

    Args:
        models: By name, what reads one word.
        vocab_size: Words are drawn from so many.
        reference: The model that the others are compared with.
    """
    words = np.random.default_rng(0).integers(vocab_size, size=_WORDS).tolist()
    times: dict[str, list[float]] = {name: [] for name in models}
    for read in models.values():
        for word in words[:_WARM_UP]:
            read(word)
    while True:
        for name, read in models.items():
            start = time.thread_time()
            for word in words:
                read(word)
            times[name].append((time.thread_time() - start) / _WORDS * 1e3)
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
