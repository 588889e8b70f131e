"""Calibration: what the data tell of a model before the search, learnt once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import torch
from numpy.typing import NDArray
from torch import nn

from autocompress.errors import ModelError, TaskError
from autocompress.knowledge.curvature import measure_curvatures
from autocompress.knowledge.task import Task
from autocompress.knowledge.tensors import tensors_of
from autocompress.knowledge.weights import ModelWeights, Site, find_sites
from autocompress.layers.copies import untouched
from autocompress.layers.memory import first_names
from autocompress.structures import Curvature, matrix_shape
from autocompress.support.files import put_aside, write_whole

_VERSION = "1"  # of what is measured: files of another one are measured anew


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


def calibrate(model: nn.Module, task: Task, cache: Path | None = None) -> Calibration:
    """Ask the task for row frequencies, find the sites, and measure the curvatures.

    Args:
        model: Evaluated without dropout; it is not changed.
        task: Knows the data.
        cache: A folder in which the curvatures are kept under a hash of model and data, since
            measuring them takes as long as some trials. None keeps nothing.

    Raises:
        TaskError: If there is no batch, or the task raises an exception.
        ModelError: If frequencies do not match the rows of their weight.
    """
    sites = _sites(model, task)
    frequencies = _row_frequencies(model, task)
    if cache is None:
        return Calibration(frequencies, sites, measure_curvatures(model, task, frequencies))
    about = "\n".join((_VERSION, ModelWeights.of(model).sha256, task.fingerprint()))
    path = cache / f"calibration-{hashlib.sha256(about.encode()).hexdigest()[:16]}.safetensors"
    curvatures = _load(path)
    if curvatures is None:
        curvatures = measure_curvatures(model, task, frequencies)
        _save(curvatures, path)
    return Calibration(frequencies, sites, curvatures)


def _sites(model: nn.Module, task: Task) -> tuple[Site, ...]:
    batch = next(task.calibration_batches(), None)
    if batch is None:
        raise TaskError("`task.calibration_batches()` must yield at least one batch")
    with untouched(model) as watched, torch.random.fork_rng(devices=[]):
        return find_sites(watched, lambda: task.forward(watched, batch))


def _save(curvatures: Mapping[str, Curvature], path: Path) -> None:
    tensors = {}
    for name, curvature in curvatures.items():
        for key, array in curvature.arrays.items():
            tensors[f"{name}:{key}"] = np.ascontiguousarray(array)
    write_whole(path, safetensors.numpy.save(tensors))


def _load(path: Path) -> dict[str, Curvature] | None:
    """Read what `_save` wrote; None if there is no such file, or it is damaged."""
    try:
        tensors = safetensors.numpy.load_file(path)
        kept: dict[str, dict[str, NDArray[Any]]] = {}
        for place in sorted(tensors):
            name, _, key = place.rpartition(":")
            kept.setdefault(name, {})[key] = tensors[place]
        if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
            raise ValueError("it holds what is no finite number")
        return {name: Curvature.of_arrays(arrays) for name, arrays in kept.items()}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, safetensors.SafetensorError) as error:
        put_aside(path, error)
        return None


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
