"""Chasing a rise: plans of one family, each aimed by what the ones before have shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from autocompress.outcome.results import TrialResult
from autocompress.searching.openings.uniform import Family

_TRIALS = 6
_AIM = 0.97
_POWER = 1.5  # of the steps with which losses rise, between 2 at fine steps and 1 at coarse ones
_LARGEST_STRIDE = 4.0
_CLOSE = 1.01
_SMALLEST_RISE = 1e-4
_HARDLY_LESS, _CLEARLY_FINER = 0.9, 1.5


class Chase:
    """Finds the coarsest steps of a family at which the metric rises by at most so much.

    The metric is measured, not predicted: each scale follows from all results so far, and from
    nothing else.

    Attributes:
        family: The plans.
        first: The scale at which the rise is predicted.
        max_rise: The limit, in shares of the baseline.
        is_spare: Whether it is made only where those before it do not keep the limit.
    """

    def __init__(
        self, family: Family, first: float, max_rise: float, *, is_spare: bool = False
    ) -> None:
        """Start from a scale.

        Args:
            family: The plans.
            first: The scale at which the rise is predicted.
            max_rise: The limit, in shares of the baseline.
            is_spare: Whether it is made only where those before it do not keep the limit.
        """
        self.family, self.max_rise = family, max_rise
        self.first, self.is_spare = first, is_spare

    def scale(
        self, results: Sequence[TrialResult], rise_of: Callable[[TrialResult], float]
    ) -> float | None:
        """Return the next scale, or None where the last one is close enough, or enough were tried.

        Args:
            results: What the scales so far have given, in order.
            rise_of: Tells the rise of the metric, infinite where it was not measured.
        """
        scale, fine, coarse = self.first, (0.0, 0.0), (math.inf, math.inf)
        for result in results:
            rise = rise_of(result)
            if rise <= self.max_rise:
                fine = max(fine, (scale, rise))
            elif scale < coarse[0] / _CLEARLY_FINER and math.inf > rise > _HARDLY_LESS * coarse[1]:
                return None  # it is not the steps that make it so bad
            else:
                coarse = min(coarse, (scale, rise))
            scale = self._next(fine, coarse)
        unmeasured = sum(not math.isfinite(rise_of(result)) for result in results)
        if unmeasured > 2:
            return None  # clearly worse than others, and at ever finer steps
        if len(results) >= _TRIALS or coarse[0] < fine[0] * _CLOSE:
            return None
        return scale

    def _next(self, fine: tuple[float, float], coarse: tuple[float, float]) -> float:
        target = max(_AIM * self.max_rise, _SMALLEST_RISE)
        if fine[0] and math.isfinite(coarse[0]):
            low, high = (math.log(max(rise, _SMALLEST_RISE)) for _, rise in (fine, coarse))
            share = (math.log(target) - low) / (high - low) if high > low else 0.5
            share = min(max(share, 0.1), 0.9)
            return float(fine[0] ** (1 - share) * coarse[0] ** share)
        scale, rise = fine if fine[0] else coarse
        if not math.isfinite(rise):
            return scale / _LARGEST_STRIDE
        stride = (target / max(rise, _SMALLEST_RISE)) ** (1 / _POWER)
        return float(scale * min(max(stride, 1 / _LARGEST_STRIDE), _LARGEST_STRIDE))
