"""What finished trials are worth, by the limits of a search and the uncompressed model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean

from autocompress.outcome.limits import (
    Limit,
    excesses,
    parse_rise,
    rise_in_shares,
    rise_unit,
)
from autocompress.outcome.metric import distance
from autocompress.outcome.names import LATENCY, SIZE
from autocompress.outcome.origin import LAST_RESORT
from autocompress.outcome.results import TrialResult, pareto_front
from autocompress.searching.settings import Settings
from autocompress.trial.looks import Hurdle

REGAINED = 0.1
"""A rise of the metric, in shares of the baseline, that fine-tuning can be trusted to regain."""

_TWO = 2  # size and the task's metric
_MARGIN = 0.1  # of the latency, which differs by so much with what else the machine does


class Judge:
    """Judges the trials of one search.

    Attributes:
        limits: By objective name, what plans must keep.
        max_rise: How much worse the metric may become, in shares of the baseline, or None.
        rivals: Trials of other models, where several are searched, that plans must not be clearly
            worse than, as long as size and metric are all that counts.
    """

    rivals: tuple[Hurdle, ...] = ()

    def __init__(
        self, settings: Settings, limits: Mapping[str, Limit], baseline: Mapping[str, float]
    ) -> None:
        """Take what to judge by.

        Args:
            settings: What the search is about.
            limits: Its limits, as absolute bounds.
            baseline: The uncompressed model's numbers.
        """
        self.limits = limits
        self._settings, self._baseline = settings, baseline[settings.metric]
        rise = settings.max_rise
        self.max_rise = None if rise is None else rise_in_shares(parse_rise(rise), self._baseline)

    def rise(self, result: TrialResult) -> float:
        """Return how much worse the metric is than the baseline's, in shares of it.

        In its own unit where the baseline is 0; infinite where it was not measured.
        """
        metric = self._settings.metric
        if metric not in result.values:
            return math.inf
        direction = self._settings.directions[metric]
        worse = distance(result.values[metric], self._baseline, direction)
        return worse / rise_unit(self._baseline)

    def is_slow(self, result: TrialResult, margin: float = 0.0) -> bool:
        """Whether a plan misses a limit on the latency, made stricter by a share of it."""
        excess = excesses(result.values, self.limits).get(LATENCY)
        return excess is not None and excess > -margin

    def hurdles(self, results: Sequence[TrialResult]) -> list[Hurdle]:
        """Return what tells early that a plan is of no use.

        One is the trial that comes nearest to the limit on the metric from above: what is worse
        is above it too. The others are the trials of the front, as long as size and metric are
        all that counts: what is worse than a smaller file will not be on the front.
        """
        limit, hurdles = self.max_rise, []
        if limit is not None:
            above = [result for result in results if limit < self.rise(result) < math.inf]
            for nearest in sorted(above, key=self.rise)[:1]:
                reason = f"worse than trial {nearest.number}, which is above the limit"
                hurdles.append(Hurdle(nearest.losses, 0, reason, nearest.predicted))
        if len(self._settings.directions) == _TWO:
            for result in pareto_front(results, self._settings.directions):
                reason = f"worse than trial {result.number}, which is smaller"
                size = result.size_bytes
                hurdles.append(Hurdle(result.losses, size, reason, result.predicted))
            hurdles += self.rivals
        return hurdles

    def best(self, results: Sequence[TrialResult]) -> TrialResult | None:
        """Return the best trial so far that keeps all limits, as results name it, or None."""
        feasible = [one for one in results if one.feasible]
        if self.max_rise is not None:
            return min(feasible, key=lambda one: one.size_bytes, default=None)
        return min(feasible, key=self.rise, default=None)

    def promising(self, results: Sequence[TrialResult], best: int | None) -> TrialResult | None:
        """Return the trial whose plan is worth fine-tuning, if any.

        Args:
            results: All finished trials.
            best: Number of the best trial within all limits, or None.
        """
        max_rise = self.max_rise
        results = [one for one in results if one.family != LAST_RESORT]
        if max_rise is None:
            return next((one for one in results if one.number == best), None)
        if self._settings.latency_budget is not None:
            # Trials were rejected beside slower ones, and may be the best of those with room.
            looked_at = [one for one in results if one.losses or self.rise(one) < math.inf]
            safe = [one for one in looked_at if not self.is_slow(one, _MARGIN)]
            return self._least_loss(safe or looked_at)
        measured = [one for one in results if self.rise(one) < math.inf]
        if SIZE in self.limits:
            return min(measured, key=self.rise, default=None)
        near = [one for one in measured if self.rise(one) <= max_rise + REGAINED]
        return min(near, key=lambda result: result.size_bytes, default=None)

    def members(
        self, results: Sequence[TrialResult], main: TrialResult, count: int
    ) -> list[TrialResult]:
        """Return members of the front that are worth fine-tuning beside the promising one.

        They lose at most ten points more than it does, which fine-tuning can regain, and are
        spread over the sizes: each is the farthest from those that are taken already.

        Args:
            results: All finished trials.
            main: The promising one.
            count: How many are asked for; there may be fewer.
        """
        size = self.limits.get(SIZE)
        left = [
            one
            for one in pareto_front(results, self._settings.directions)
            if one.number != main.number
            and one.family != LAST_RESORT
            and self.rise(one) <= self.rise(main) + REGAINED
            and not (size is not None and size.excess(one.size_bytes) > 0)
        ]
        taken = [main]
        while left and len(taken) <= count:
            farthest = max(left, key=lambda one: min(_apart(one, other) for other in taken))
            left.remove(farthest)
            taken.append(farthest)
        return taken[1:]

    def _least_loss(self, results: Sequence[TrialResult]) -> TrialResult | None:
        """Return the trial that loses least of those that were looked at.

        They are compared on the parts of the data that all of them have seen: most were rejected
        after a few.
        """
        parts = min((len(one.losses) for one in results), default=0)
        if parts:
            return min(results, key=lambda one: mean(one.losses[:parts]))
        return min(results, key=self.rise, default=None)


def _apart(one: TrialResult, other: TrialResult) -> float:
    return abs(math.log(one.size_bytes / other.size_bytes))
