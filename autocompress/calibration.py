"""Calibration: what the data tell of a model before the search, learnt once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import nn

from autocompress.curvature import measure_curvatures
from autocompress.errors import ModelError
from autocompress.structures import Curvature, matrix_shape
from autocompress.task import Task
from autocompress.weights import Site, find_sites, first_names


@dataclass(frozen=True)
class Calibration:
    """What one look at training data tells.

    Attributes:
        row_frequencies: By weight name, float64 array of shape (rows,) of how often each row is
            used; only weights of which the task knows it.
        sites: The weights that multiply the same vector.
        curvatures: By weight name, what errors cost; only weights of which it can be measured.
    """

    row_frequencies: Mapping[str, NDArray[np.float64]]
    sites: tuple[Site, ...]
    curvatures: Mapping[str, Curvature] = field(default_factory=dict)


def calibrate(model: nn.Module, task: Task) -> Calibration:
    """Ask the task for row frequencies, find the sites, and measure the curvatures.

    Raises:
        ModelError: If there is no batch, or frequencies do not match the rows of their weight.
    """
    batch = next(task.calibration_batches(), None)
    if batch is None:
        raise ModelError("`task.calibration_batches()` must yield at least one batch")
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        sites = find_sites(model, lambda: task.forward(model, batch))
    finally:
        for module, training in modes:
            module.training = training
    frequencies = _row_frequencies(model, task)
    return Calibration(frequencies, sites, measure_curvatures(model, task, frequencies))


def _row_frequencies(model: nn.Module, task: Task) -> dict[str, NDArray[np.float64]]:
    tensors = model.state_dict(keep_vars=True)
    firsts = first_names(tensors)
    frequencies = {}
    for name, given in task.row_frequencies(model).items():
        counts = np.asarray(given, dtype=np.float64)
        rows = matrix_shape(tuple(tensors[name].shape))[0] if name in tensors else "no"
        if counts.shape != (rows,) or not (np.isfinite(counts) & (counts >= 0)).all():
            raise ModelError(
                f"`task.row_frequencies` must give a finite count of at least 0 for every row of "
                f"a weight, but '{name}' has {rows} rows and got {counts.shape}"
            )
        frequencies[firsts[name]] = counts
    return frequencies
