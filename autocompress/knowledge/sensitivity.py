"""What coarse steps in each weight really cost, beside what its curvature predicts."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from autocompress.knowledge.prediction import predicted_loss_rise
from autocompress.knowledge.source import Source
from autocompress.knowledge.task import Task
from autocompress.layers.copies import copied
from autocompress.structures import Curvature
from autocompress.support import progress
from autocompress.support.files import kept_json, numbers, write_json
from autocompress.support.threads import one_thread

_BATCHES = 24
_RISE = 0.01
_FINEST, _WIDEST, _HALVINGS = -60.0, 0.0, 12

Floats = NDArray[np.float64]


def with_sensitivities(source: Source, model: nn.Module, task: Task, cache: Path) -> Source:
    """Measure how right the curvatures are relative to each other, and keep it in a file.

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
        task: Gives the training losses; without any, nothing is measured.
        cache: The file.
    """
    sensitivities = kept_json(cache, numbers)
    if not sensitivities:  # none at all are found in an instant, where there are none to find
        progress.say("measuring how sensitive the loss is to each weight")
        with one_thread():
            sensitivities = _measure(source, model, task)
        write_json(cache, sensitivities)
    calibration = replace(source.calibration, sensitivities=sensitivities)
    return replace(source, calibration=calibration)


def _measure(source: Source, model: nn.Module, task: Task) -> dict[str, float]:
    probed, teacher = copied(model).eval(), copied(model).eval()
    tensors = probed.state_dict()
    base = _losses(probed, teacher, task)
    ratios: dict[str, float] = {}
    for name, weight in source.weights.weights.items() if base.size else ():
        error = _coarse_error(source, name).reshape(weight.values.shape)
        exact = tensors[name].clone()
        tensors[name].copy_(torch.from_numpy(np.asarray(weight.values + error)))
        differences = _losses(probed, teacher, task) - base
        tensors[name].copy_(exact)
        predicted = predicted_loss_rise(source, name, error.reshape(weight.matrix.shape))
        # What is lost in the noise of the measurement is at most as large as the noise.
        noise = float(differences.std()) / math.sqrt(len(differences))
        rise = max(float(differences.mean()), noise)
        if predicted > 0 and math.isfinite(rise) and rise > 0:
            ratios[name] = rise / predicted
    known = [name for name in ratios if name in source.calibration.curvatures]
    sizes = [source.weights.weights[name].values.size for name in known]
    mean = np.average([ratios[name] for name in known], weights=sizes) if known else 1.0
    return {name: float(ratio / mean) for name, ratio in ratios.items()}


def _losses(model: nn.Module, teacher: nn.Module, task: Task) -> Floats:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        batches = islice(task.training_losses(model, teacher, 0.0, 0), _BATCHES)
        return np.array([loss.item() for loss in batches])


def _coarse_error(source: Source, name: str) -> NDArray[np.float32]:
    """Round to steps that cost the same everywhere, so wide that the loss should rise by 0.01."""
    values = source.weights.weights[name].matrix
    curvature = source.calibration.curvatures.get(name) or Curvature.relative(values)
    costs = np.maximum(curvature.rows[:, None] * curvature.diagonal, np.finfo(np.float64).tiny)

    def error(octave: float) -> NDArray[np.float32]:
        steps = np.sqrt(2.0**octave / costs)
        rounded = np.rint(values / steps) * steps
        difference: NDArray[np.float32] = (rounded - values).astype(np.float32)
        return difference

    fine, wide = _FINEST, _WIDEST
    for _ in range(_HALVINGS):
        middle = (fine + wide) / 2
        # Errors of rounding are as good as independent, so that the diagonal tells enough.
        if np.vdot(costs, np.square(error(middle), dtype=np.float64)) / 2 < _RISE:
            fine = middle
        else:
            wide = middle
    return error(fine)
