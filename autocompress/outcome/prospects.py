"""What a budget buys: how much of the metric is lost at so many times fewer bytes.

Before any trial it is predicted from curvatures and sensitivities; where a trial has shown it,
it is measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

from autocompress.outcome.numbers import is_number
from autocompress.outcome.trials import TrialResult

if TYPE_CHECKING:
    from autocompress.outcome.results import SearchResult

TIMES = (2, 5, 10, 20, 40)
SOUND = 0.1
"""What may be lost of the metric by a file that is called sound."""

_NEAR = 0.85  # of the size that is asked for: what is smaller shows too little of it
_POOR, _SMALL = 3.0, 0.01  # times what is predicted, which is at least so much
_PAIRS = 5  # predicted and measured ones, from which the next prediction is corrected
_LARGEST_LOSS = 50.0  # nats; what is predicted beyond is as good as infinite


@dataclass(frozen=True)
class Prospect:
    """What a file of some size loses.

    Attributes:
        times: How many times smaller than the uncompressed model, in single precision, it is.
        size_bytes: Its length; of a prediction about.
        rise: How much worse the metric is, in shares of the baseline, or None where nothing that
            the search space offers is so small.
        trial: The number of the trial that has shown it, or None where it is predicted.
    """

    times: float
    size_bytes: int
    rise: float | None
    trial: int | None


@dataclass(frozen=True)
class Curve:
    """The best that plans of a search space should reach, before any trial.

    Attributes:
        points: Bytes of all numbers, and by how much the loss should rise, from the fewest bytes.
        numbers_bytes: Bytes of all numbers in single precision.
    """

    points: tuple[tuple[float, float], ...]
    numbers_bytes: int

    @classmethod
    def from_json(cls, document: Any) -> Curve:
        """Read what `dataclasses.asdict` gave.

        Raises:
            TypeError, LookupError, ValueError: If it is something else.
        """
        points = tuple((float(size), float(rise)) for size, rise in document["points"])
        if not points or not is_number(document["numbers_bytes"]):
            raise ValueError("no curve")
        return cls(points, int(document["numbers_bytes"]))

    def loss_rise(self, n_bytes: float) -> float | None:
        """Return the predicted rise of the loss for so many bytes of numbers, or None."""
        if n_bytes < self.points[0][0]:
            return None
        return _between(n_bytes, self.points)

    def n_bytes(self, loss_rise: float) -> float:
        """Return the fewest bytes of numbers at which the loss should rise by at most so much."""
        turned = [(rise, size) for size, rise in reversed(self.points)]
        return _between(loss_rise, turned)


def _between(place: float, points: Sequence[tuple[float, float]]) -> float:
    """Interpolate in logarithms; beyond the ends the value of the end."""
    if place <= points[0][0]:
        return points[0][1]
    for (low, left), (high, right) in pairwise(points):
        if place <= high:
            if min(low, left, right) <= 0 or high <= low:
                return right
            share = math.log(place / low) / math.log(high / low)
            return float(left ** (1 - share) * right**share)
    return points[-1][1]


def prospects(
    result: SearchResult, trials: Sequence[TrialResult], curve: Curve | None
) -> tuple[Prospect, ...]:
    """Tell what files of 2, 5, 10, 20 and 40 times fewer bytes lose.

    A trial shows it whose file is as small, if hardly smaller, unless it loses several times what
    is predicted; or if it loses less than that, however small it is. Predictions are corrected
    by what trials have shown of their like.

    Args:
        result: The search.
        trials: All finished trials.
        curve: What was predicted before them, or None where nothing was.
    """
    if result.baseline.values[result.metric] == 0:
        return ()  # nothing is a share of it
    found = [_at(result, times, _measured(result, trials), curve) for times in TIMES]
    return tuple(one for one in found if one is not None)


def sound(
    result: SearchResult, trials: Sequence[TrialResult], curve: Curve | None
) -> Prospect | None:
    """Return the smallest file that loses at most a tenth of the metric, or None if not known.

    The arguments are those of `prospects`.
    """
    measured = _measured(result, trials)
    kept = [one for one in measured if result.worsening(one.values) <= SOUND]
    if kept:
        best = min(kept, key=lambda one: one.size_bytes)
        return _shown(result, result.baseline.size_bytes / best.size_bytes, best)
    if curve is None:
        return None
    # The correction depends a little on what is corrected.
    loss = math.log1p(SOUND) / _correction(result, measured, math.log1p(SOUND))
    size = round(curve.n_bytes(loss)) + _beside(result, curve)
    return Prospect(result.baseline.size_bytes / size, size, SOUND, None)


def _measured(result: SearchResult, trials: Iterable[TrialResult]) -> list[TrialResult]:
    return [one for one in trials if result.metric in one.values]


def _at(
    result: SearchResult, times: int, measured: Sequence[TrialResult], curve: Curve | None
) -> Prospect | None:
    limit = result.baseline.size_bytes // times
    small = [one for one in measured if one.size_bytes <= limit]
    best = min(small, key=lambda one: result.worsening(one.values), default=None)
    loss = None if curve is None else curve.loss_rise(limit - _beside(result, curve))
    if curve is None or loss is None:
        if best is not None:
            return _shown(result, times, best)
        return None if curve is None else Prospect(times, limit, None, None)
    loss *= _correction(result, measured, loss)
    rise = math.expm1(min(loss, _LARGEST_LOSS))
    # Of nearly the size, a plan tells what can be had, unless it was a poor one.
    if best is not None:
        is_near = best.size_bytes >= _NEAR * limit
        if result.worsening(best.values) <= (_POOR * max(rise, _SMALL) if is_near else rise):
            return _shown(result, times, best)
    return Prospect(times, limit, rise, None)


def _shown(result: SearchResult, times: float, trial: TrialResult) -> Prospect:
    return Prospect(times, trial.size_bytes, result.worsening(trial.values), trial.number)


def _beside(result: SearchResult, curve: Curve) -> int:
    """Return the bytes of a file beside its numbers: header, buffers, and files of the task."""
    return max(result.baseline.size_bytes - curve.numbers_bytes, 0)


def _correction(result: SearchResult, measured: Sequence[TrialResult], loss: float) -> float:
    """Return by what to multiply a predicted rise of the loss, from trials of similar ones."""
    pairs = [
        (one.predicted, math.log1p(result.worsening(one.values)))
        for one in measured
        if one.predicted and one.predicted > 0 and 0 < result.worsening(one.values) < math.inf
    ]
    if not pairs or loss <= 0:
        return 1.0
    near = sorted(pairs, key=lambda pair: abs(math.log(pair[0] / loss)))[:_PAIRS]
    return median(shown / predicted for predicted, shown in near)
