"""Calibration: what the data tell of a model before the search, learnt once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from autocompress.errors import ModelError
from autocompress.task import Task
from autocompress.weights import Site, find_sites


@dataclass(frozen=True)
class Calibration:
    """What one look at training data tells.

    Attributes:
        row_frequencies: By weight name, float64 array of shape (rows,) of how often each row is
            used; only weights of which the task knows it.
        sites: The weights that multiply the same vector.
    """

    row_frequencies: Mapping[str, NDArray[np.float64]]
    sites: tuple[Site, ...]


def calibrate(model: nn.Module, task: Task) -> Calibration:
    """Run a model on the task's first calibration batch and ask the task for row frequencies.

    Raises:
        ModelError: If there is no batch, or frequencies do not match the rows of their weight.
    """
    batch = next(task.calibration_batches(), None)
    if batch is None:
        raise ModelError("`task.calibration_batches()` must yield at least one batch")
    training = model.training
    model.eval()
    sites = find_sites(model, lambda: task.forward(model, batch))
    model.train(training)
    rows = {name: tensor.shape[0] for name, tensor in model.state_dict().items() if tensor.ndim}
    frequencies = {}
    for name, counts in task.row_frequencies(model).items():
        if name not in rows or counts.shape != (rows[name],) or not (counts >= 0).all():
            raise ModelError(
                f"`task.row_frequencies` must give a count of at least 0 for every row of a "
                f"weight, but '{name}' has {rows.get(name, 'no')} rows and got {counts.shape}"
            )
        frequencies[name] = np.asarray(counts, dtype=np.float64)
    return Calibration(frequencies, sites)
