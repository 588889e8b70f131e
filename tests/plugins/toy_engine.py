"""An engine of one's own: weights in half precision, as some processors have it."""

import time

import numpy as np
import torch

from autocompress.engines.base import Engine, Latency
from autocompress.engines.torch import fill

_ROUNDS = 9


class HalfEngine(Engine):
    name = "toy_half"
    since = "1.0"
    measures_latency = True

    def __init__(self, model, uncompressed):
        self._model, self._reference = model, uncompressed

    def load(self, artifact):
        model = fill(self._model, artifact)
        with torch.no_grad():
            for weight in model.parameters():
                weight.copy_(weight.half().float())
        return model

    def latency(self, loaded):
        """Time how long it takes to add all weights up, beside as many zeros."""
        zeros = [torch.zeros_like(weight) for weight in loaded.parameters()]
        times = np.array([[_time(loaded.parameters()), _time(zeros)] for _ in range(_ROUNDS)])
        own, ratios = times[:, 0], times[:, 0] / times[:, 1]
        return Latency(
            p50_ms=float(np.median(own)),
            p95_ms=float(np.quantile(own, 0.95)),
            ratio=float(np.median(ratios)),
            noise=float(ratios.std() / _ROUNDS**0.5),
            rounds=_ROUNDS,
        )


def _time(tensors):
    start = time.perf_counter()
    for tensor in tensors:
        tensor.sum()
    return 1000 * (time.perf_counter() - start)
