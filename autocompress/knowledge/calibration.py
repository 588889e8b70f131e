"""Calibration: what the data tell of a model before the search, learnt once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from autocompress.errors import ModelError, TaskError
from autocompress.knowledge.curvature import measure_curvatures
from autocompress.knowledge.kept import Kept
from autocompress.knowledge.task import Task
from autocompress.knowledge.tensors import tensors_of
from autocompress.knowledge.weights import Site, find_sites
from autocompress.layers.copies import untouched
from autocompress.layers.memory import first_names
from autocompress.structures import Curvature, matrix_shape
from autocompress.support.memory import give_back


@dataclass(frozen=True)
class Calibration:
    """What one look at training data tells.

    Attributes:
        row_frequencies: By weight name, float64 array of shape (rows,) of how often each row is
            used; only weights of which the task knows it.
        sites: The weights that multiply the same vector.
        curvatures: By weight name, what errors cost; only weights of which it can be measured.
        sensitivities: By weight name, how many times as much as its curvature says a weight
            really costs, relative to the others; where it is not known, once.
    """

    row_frequencies: Mapping[str, NDArray[np.float64]]
    sites: tuple[Site, ...]
    curvatures: Mapping[str, Curvature] = field(default_factory=dict)
    sensitivities: Mapping[str, float] = field(default_factory=dict)


def calibrate(model: nn.Module, task: Task, kept: Kept | None = None) -> Calibration:
    """Ask the task for row frequencies, find the sites, and measure the curvatures.

    Args:
        model: Evaluated without dropout; it is not changed.
        task: Knows the data.
        kept: Where the curvatures are kept, since measuring them takes as long as some trials.
            None keeps nothing.

    Raises:
        TaskError: If there is no batch, or the task raises an exception.
        ModelError: If frequencies do not match the rows of their weight.
    """
    sites = _sites(model, task)
    give_back()  # what this took comes not on top of what follows
    frequencies = _row_frequencies(model, task)
    curvatures = None if kept is None else kept.known_curvatures()
    if curvatures is None:
        curvatures = measure_curvatures(model, task, frequencies)
        if kept is not None:
            kept.keep_curvatures(curvatures)
    return Calibration(frequencies, sites, curvatures)


def _sites(model: nn.Module, task: Task) -> tuple[Site, ...]:
    batch = next(task.calibration_batches(), None)
    if batch is None:
        raise TaskError("`task.calibration_batches()` must yield at least one batch")
    with untouched(model) as watched, torch.random.fork_rng(devices=[]):
        return find_sites(watched, lambda: task.forward(watched, batch))


def _row_frequencies(model: nn.Module, task: Task) -> dict[str, NDArray[np.float64]]:
    tensors = tensors_of(model)
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
