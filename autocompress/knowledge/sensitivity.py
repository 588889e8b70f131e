"""What coarse steps in each weight really cost, beside what its curvature predicts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autocompress.knowledge.curvature import is_even
from autocompress.knowledge.kept import Kept
from autocompress.knowledge.prediction import predicted_loss_rise
from autocompress.knowledge.source import Source
from autocompress.knowledge.task import Task
from autocompress.knowledge.tensors import tensors_of
from autocompress.layers.copies import beside, untouched
from autocompress.structures import Curvature, Matrix, row_blocks
from autocompress.support import progress
from autocompress.support.integers import AT_ONCE
from autocompress.support.threads import one_thread

_BATCHES = 24
_RISE = 0.01
_FINEST, _WIDEST, _HALVINGS = -60.0, 0.0, 12

Floats = NDArray[np.float64]


def with_sensitivities(
    source: Source, model: nn.Module, task: Task, kept: Kept | None = None
) -> Source:
    """Measure how right the curvatures are relative to each other, and keep it.

    Curvatures take the inputs of a layer for independent of its gradients, and one step of a
    sequence for independent of the next; by how much that is wrong differs from layer to layer,
    and of biases no curvature is known. Therefore each weight alone is rounded so coarsely that
    the loss should rise by a hundredth, and the rise is measured on training batches.

    Sensitivities are relative: their mean over the elements of which curvatures are known is
    one. On the very text that a model was trained on, the loss rises by more than elsewhere,
    which says nothing of one weight or another.

    Args:
        source: The model, calibrated.
        model: The same; evaluated without dropout and not changed.
        task: Gives the training losses; without any, nothing is measured, nor on a model that
            knows its training data by heart.
        kept: Where they are kept, or None.
    """
    if is_even(source.calibration.curvatures):
        progress.say(
            "the model knows its training data by heart, and its gradients there mislead: "
            "errors are counted by their size, as without training losses"
        )
        return source
    sensitivities = None if kept is None else kept.known_sensitivities()
    if not sensitivities:  # none at all are found in an instant, where there are none to find
        progress.say("measuring how sensitive the loss is to each weight")
        with one_thread(), progress.bar("sensitivities", len(source.weights.weights)) as bar:
            sensitivities = _measure(source, model, task, bar)
        if kept is not None:
            kept.keep_sensitivities(sensitivities)
    calibration = replace(source.calibration, sensitivities=sensitivities)
    return replace(source, calibration=calibration)


def _measure(source: Source, model: nn.Module, task: Task, bar: progress.Bar) -> dict[str, float]:
    with untouched(model) as teacher:
        return _measured(source, teacher, task, bar)


def _measured(
    source: Source, teacher: nn.Module, task: Task, bar: progress.Bar
) -> dict[str, float]:
    probed = beside(teacher)
    tensors = tensors_of(probed)
    base = _losses(probed, teacher, task)
    ratios: dict[str, float] = {}
    for name, weight in source.weights.weights.items() if base.size else ():
        coarse = _Coarse.of(source, name)
        rounded = tensors[name].detach().clone()
        matrix = rounded.reshape(weight.matrix.shape)
        for rows, error in coarse.errors():
            matrix[rows] = torch.from_numpy(np.asarray(weight.matrix[rows] + error))
        with _put(rounded, [tensors[one] for one in (name, *weight.aliases)]):
            differences = _losses(probed, teacher, task) - base
        del rounded, matrix  # they may be large
        predicted = predicted_loss_rise(source, name, coarse.errors())
        # What is lost in the noise of the measurement is at most as large as the noise.
        noise = float(differences.std()) / math.sqrt(len(differences))
        rise = max(float(differences.mean()), noise)
        if predicted > 0 and math.isfinite(rise) and rise > 0:
            ratios[name] = rise / predicted
        bar.advance(note=name)
    known = [name for name in ratios if name in source.calibration.curvatures]
    sizes = [source.weights.weights[name].values.size for name in known]
    mean = np.average([ratios[name] for name in known], weights=sizes) if known else 1.0
    return {name: float(ratio / mean) for name, ratio in ratios.items()}


@contextmanager
def _put(values: Tensor, tensors: list[Tensor]) -> Iterator[None]:
    """Have other values in the place of a weight, under all of its names."""
    exact = [tensor.data for tensor in tensors]
    for tensor in tensors:
        tensor.data = values
    try:
        yield
    finally:
        for tensor, own in zip(tensors, exact, strict=True):
            tensor.data = own


def _losses(model: nn.Module, teacher: nn.Module, task: Task) -> Floats:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        batches = islice(task.training_losses(model, teacher, 0.0, 0), _BATCHES)
        return np.array([loss.item() for loss in batches])


@dataclass(frozen=True)
class _Coarse:
    """A weight, rounded to steps that cost the same everywhere.

    Attributes:
        values: Float32 of shape (rows, cols).
        rows: What a squared error costs by row.
        cols: The same by column; the two are multiplied.
        octave: Of the squared steps, times what they cost.
    """

    values: Matrix
    rows: Floats
    cols: Floats
    octave: float

    @classmethod
    def of(cls, source: Source, name: str) -> _Coarse:
        """Find steps so wide that the loss should rise by 0.01."""
        values = source.weights.weights[name].matrix
        curvature = source.calibration.curvatures.get(name) or Curvature.relative(values)
        fine, wide = _FINEST, _WIDEST
        for _ in range(_HALVINGS):
            middle = (fine + wide) / 2
            coarse = cls(values, curvature.rows, curvature.diagonal, middle)
            # Errors of rounding are as good as independent, so that the diagonal tells enough.
            if coarse._cost() / 2 < _RISE:
                fine = middle
            else:
                wide = middle
        return cls(values, curvature.rows, curvature.diagonal, fine)

    def errors(self) -> Iterator[tuple[slice, Matrix]]:
        """Yield the errors, float32, by blocks of rows."""
        for rows in row_blocks(self.values.shape, AT_ONCE):
            values, steps = self.values[rows], np.sqrt(2.0**self.octave / self._costs(rows))
            yield rows, (np.rint(values / steps) * steps - values).astype(np.float32)

    def _cost(self) -> float:
        squares = (
            np.vdot(self._costs(rows), np.square(error, dtype=np.float64))
            for rows, error in self.errors()
        )
        return float(sum(squares))

    def _costs(self, rows: slice) -> Floats:
        return np.maximum(self.rows[rows, None] * self.cols, np.finfo(np.float64).tiny)
