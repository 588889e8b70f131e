"""How far a search came: the hypervolume of its front."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from autocompress.outcome.metric import worsening_of

if TYPE_CHECKING:
    from autocompress.outcome.results import SearchResult, TrialResult

WORST = 0.2
"""The worst relative change of the metric that still counts."""


def worsening(result: SearchResult, values: Mapping[str, float]) -> float:
    """Return by how much the metric is worse than the baseline's, relative to it; 0.01 is 1 %."""
    metric = result.metric
    baseline = result.baseline.values[metric]
    return worsening_of(values[metric], baseline, result.directions[metric])


def hypervolume(result: SearchResult, trials: Sequence[TrialResult]) -> list[float]:
    """Return the hypervolume of the front after each trial, of size and the task's metric.

    The unit is halvings of the file, log2(baseline size / size). The reference point is the
    uncompressed size at a metric `WORST` (20 %) worse than the baseline's, and the area is divided
    by `WORST`: it is the mean, over all losses of 0 to 20 % that one may permit, of how often the
    file is halved by the smallest plan that loses no more. Two to its power is the geometric mean
    of how many times smaller that plan is. A metric better than the baseline's counts as equal.

    Args:
        result: The search.
        trials: All finished trials; those that are not feasible add nothing.

    Returns:
        One number per trial, by the trial's number, of several models by when it began; it never
        falls.
    """
    points = [
        (worsening(result, trial.values), halvings(result, trial)) if trial.feasible else None
        for trial in sorted(trials, key=_started if result.models else _number)
    ]
    return volumes(points)


def _started(trial: TrialResult) -> float:
    return trial.started


def _number(trial: TrialResult) -> float:
    return trial.number


def volumes(points: Sequence[tuple[float, float] | None]) -> list[float]:
    """Return the hypervolume, as `hypervolume` defines it, after each point.

    Args:
        points: Relative loss of the metric and halvings of the file, or None for what adds
            nothing.
    """
    found: list[float] = []
    steps: list[tuple[float, float]] = []
    for point in points:
        if point is not None:
            steps = _steps([*steps, (max(point[0], 0.0), point[1])])
        found.append(_area(steps) / WORST)
    return list(accumulate(found, max))  # rounding apart, they ascend by themselves


def halvings(result: SearchResult, trial: TrialResult) -> float:
    """Return how often the file of the baseline is to be halved to be as small as a trial's."""
    return math.log2(result.baseline.size_bytes / trial.size_bytes)


def _steps(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Keep the points within the reference that are smaller than all that lose no more."""
    kept: list[tuple[float, float]] = []
    most = 0.0
    for loss, gain in sorted(points):
        if loss < WORST and gain > most:
            kept.append((loss, gain))
            most = gain
    return kept


def _area(steps: Sequence[tuple[float, float]]) -> float:
    ends = pairwise([*steps, (WORST, 0.0)])
    return sum(gain * (end - loss) for (loss, gain), (end, _) in ends)
