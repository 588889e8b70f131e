"""Matrices, and what may be known of them, by which methods are tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autocompress.artifact import Artifact
from autocompress.encoding.compress import compress
from autocompress.knowledge.task import Task
from autocompress.knowledge.weights import ModelWeights
from autocompress.plan import CompressionPlan, Treatment
from autocompress.structures import Curvature, Matrix, Shape

SHAPES: tuple[Shape, ...] = ((1, 8), (7, 5), (64, 64), (130, 33))


def normal(shape: tuple[int, ...], seed: int = 0) -> Matrix:
    """Return normal values, float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def matrices(shape: Shape) -> dict[str, Matrix]:
    """Return by name matrices of one shape that methods may stumble over."""
    rows, cols = shape
    outer = np.outer(np.linspace(-1, 2, rows), np.linspace(1, 3, cols)).astype(np.float32)
    wide = np.geomspace(1e-4, 1e3, rows * cols, dtype=np.float32).reshape(shape)
    return {
        "normal": normal(shape),
        "zero": np.zeros(shape, np.float32),
        "constant": np.full(shape, -0.7, np.float32),
        "of rank one": outer,
        "of many magnitudes": wide,
    }


def frequencies(rows: int) -> NDArray[np.float64]:
    """Return counts that fall as those of words do; the last row never occurs."""
    counts: NDArray[np.float64] = np.floor(1000 / np.arange(1, rows + 1))
    counts[-1] = 0
    return counts


def curvature(shape: Shape, *, diagonal: bool = False) -> Curvature:
    """Return sensitivities that differ a lot, and a moment with correlations unless diagonal."""
    rows, cols = shape
    vectors = normal((3 * cols, cols), 1).astype(np.float64) * np.linspace(0.3, 3, cols)
    vectors += vectors[:, :1] / 2
    moment = vectors.T @ vectors / len(vectors)
    sensitivities = np.square(normal((rows,), 2).astype(np.float64)) + 0.05
    return Curvature(sensitivities, np.diag(moment).copy() if diagonal else moment)


class Holder(nn.Module):
    """Holds matrices under names such as "w7x5"."""

    def __init__(self, weights: Mapping[str, Matrix]) -> None:
        super().__init__()
        for name, values in weights.items():
            self.register_parameter(name, nn.Parameter(torch.from_numpy(values.copy())))

    def forward(self, x: Tensor) -> Tensor:
        """Return what comes in."""
        return x


class Running(Task):
    """Runs a model on one batch, and scores nothing."""

    metric = "nothing"

    def __init__(self, batch: tuple[Any, ...]) -> None:
        """Take the arguments of the model's `forward`."""
        self._batch = batch

    def evaluate(self, model: nn.Module, split: str) -> float:
        """Return zero."""
        del model, split
        return 0.0

    def calibration_batches(self) -> Iterator[tuple[Any, ...]]:
        """Yield the batch."""
        yield self._batch

    def forward(self, model: nn.Module, batch: tuple[Any, ...]) -> Any:
        """Run the model."""
        return model(*batch)


class _Holding(Running):
    """Tells how often the rows of matrices are used."""

    def row_frequencies(self, model: nn.Module) -> Mapping[str, NDArray[np.float64]]:
        return {name: frequencies(weight.shape[0]) for name, weight in model.state_dict().items()}


def stored(weights: Mapping[str, Matrix], treatment: Treatment, path: Path) -> Artifact:
    """Write matrices into a file, all by one treatment, and open it."""
    model, task = Holder(weights), _Holding((torch.zeros(1),))
    return compress(model, plan_of(model, treatment), task, path)


def plan_of(model: nn.Module, treatment: Treatment) -> CompressionPlan:
    """Return the plan that treats all weights of a model alike."""
    weights = ModelWeights.of(model).weights
    return CompressionPlan(treatments=dict.fromkeys(weights, treatment))


def by_shape(shapes: tuple[Shape, ...]) -> dict[str, Matrix]:
    """Return a normal matrix of each shape, by names such as "w7x5"."""
    return {f"w{rows}x{cols}": normal((rows, cols)) for rows, cols in shapes}
