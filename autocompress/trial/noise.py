"""How much a measured change of the metric would differ on other data of the same kind."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autocompress.artifact import open_artifact
from autocompress.trial.evaluator import Evaluator

_FEWEST_PARTS = 8
_ALIKE = 0.05  # of the change: parts may be of different length


def noise_of_change(evaluator: Evaluator, baseline: Path, path: Path) -> float | None:
    """Return the standard error of the relative change of the metric from one file to another.

    Both are read part by part, so that what makes a part hard for both does not count. It is
    known where the metric is the mean of the losses of the parts, or its exponential.

    Args:
        evaluator: Of the search.
        baseline: A file.
        path: Another one.

    Raises:
        TaskError: If the task raises an exception.
    """
    (before, metric), (after, changed) = (_read(evaluator, one) for one in (baseline, path))
    if len(before) < _FEWEST_PARTS or len(before) != len(after) or metric == 0:
        return None
    differences = after - before
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    rise = float(differences.mean())
    slack = _ALIKE * abs(rise) + error / 10
    if metric > 0 and changed > 0 and abs(math.log(changed / metric) - rise) <= slack:
        return error * changed / metric
    if abs(changed - metric - rise) <= slack:
        return error / abs(metric)
    return None


def _read(evaluator: Evaluator, path: Path) -> tuple[NDArray[np.float64], float]:
    """Return the losses of all parts of the validation data, and the metric."""
    model = evaluator.engine.load(open_artifact(path))
    losses = np.array(list(evaluator.task.part_losses(model, "valid")), dtype=np.float64)
    return losses, float(evaluator.task.evaluate(model, "valid"))
