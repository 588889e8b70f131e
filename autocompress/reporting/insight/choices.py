"""Which choices mattered: the methods of each weight against the size and the metric.

A method is a kind of structure and a kind of precision, such as "pruned low_rank + entropy";
hyper-parameters are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autocompress.plan import CompressionPlan, Treatment
from autocompress.reporting.insight.volume import halvings, worsening

if TYPE_CHECKING:
    from autocompress.outcome.results import SearchResult, TrialResult

FEWEST_TRIALS = 8
ELSEWHERE = "in another entry"
_SHUFFLES = 1000
_CHANCE = 0.95

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Explained:
    """How much of what differs between trials goes with the choice of a method.

    Attributes:
        share: Share of the variance, at most 1; below 0 where it is less than expected if the
            choice meant nothing.
        chance: The share that 95 % of random choices stay below.
    """

    share: float
    chance: float

    @property
    def beyond_chance(self) -> bool:
        """Whether the share is more than random choices tend to reach."""
        return self.share > self.chance + 1e-9  # ties differ by rounding


@dataclass(frozen=True)
class MethodMean:
    """How the trials did in which an entry was stored by one method.

    Attributes:
        method: The method, or `ELSEWHERE`: a weight whose site is stored as one, or a site whose
            weights are stored one by one.
        trials: How many there are.
        ratio: How many times smaller than the baseline their files are, geometric mean.
        worsening: Their metric's mean relative change for the worse; 0.01 is 1 %.
    """

    method: str
    trials: int
    ratio: float
    worsening: float


@dataclass(frozen=True)
class Importance:
    """What the choice of a method for some entries of the plan went with.

    Attributes:
        entries: Weights or sites that had the same method as each other in every trial, so that
            the trials cannot tell them apart.
        size: How much of the logarithm of the file's size it explains.
        metric: How much of the metric's relative change it explains.
        methods: The methods that occurred, the least worsening first.
    """

    entries: tuple[str, ...]
    size: Explained
    metric: Explained
    methods: tuple[MethodMean, ...]


def importance(result: SearchResult, trials: Sequence[TrialResult]) -> list[Importance]:
    """Tell which entries of the plan decided on size and metric, by their methods.

    One-way analysis of variance over the measured trials, entry by entry: eta squared, adjusted
    for the number of methods (Kelley's epsilon squared [1]), since many small groups explain much
    by chance. What remains by chance is found by shuffling the trials. Trials are not drawn at
    random, so that this is no proof of a cause. A metric more than 100 % worse counts as 100 %,
    lest a single useless model be all of the variance; likewise for the better.

    Args:
        result: The search.
        trials: All finished trials.

    Returns:
        The entries that were stored by more than one method, those that explain most of the metric
        first. Empty if fewer than `FEWEST_TRIALS` (8) trials were measured.

    References:
        [1] T. L. Kelley. An unbiased correlation ratio measure. PNAS 21(9), 1935.
    """
    measured = [trial for trial in trials if result.metric in trial.values]
    if len(measured) < FEWEST_TRIALS:
        return []
    gains = np.array([halvings(result, trial) for trial in measured])
    worse = np.clip([worsening(result, trial.values) for trial in measured], -1.0, 1.0)
    order = np.random.default_rng(0).permuted(
        np.tile(np.arange(len(measured)), (_SHUFFLES, 1)), axis=1
    )
    found = []
    for choices, entries in _choices([trial.plan for trial in measured]).items():
        names, groups = np.unique(choices, return_inverse=True)
        if 1 < len(names) < len(measured):
            size, metric = (_explained(values, groups, order) for values in (gains, worse))
            methods = _means(names.tolist(), groups, gains, worse)
            found.append(Importance(entries, size, metric, methods))
    return sorted(found, key=lambda entry: (-entry.metric.share, -entry.size.share, entry.entries))


def _choices(plans: Sequence[CompressionPlan]) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Return the entries of the plans by the methods that they have, one in each plan."""
    names = dict.fromkeys(name for plan in plans for name in plan.treatments)
    alike: dict[tuple[str, ...], tuple[str, ...]] = {}
    for name in names:
        choices = tuple(
            method(plan.treatments[name]) if name in plan.treatments else ELSEWHERE
            for plan in plans
        )
        alike[choices] = (*alike.get(choices, ()), name)
    return alike


def method(treatment: Treatment) -> str:
    """Name the kinds of a treatment's structure and precision."""
    return f"{treatment.structure.method} + {treatment.precision.kind}"


def _explained(values: _Floats, groups: NDArray[np.intp], order: NDArray[np.intp]) -> Explained:
    if np.ptp(values) == 0:
        return Explained(0.0, 0.0)
    (share,) = _adjusted_eta_squared(values[None], groups)
    chance = np.quantile(_adjusted_eta_squared(values[order], groups), _CHANCE)
    return Explained(float(share), float(chance))


def _adjusted_eta_squared(values: _Floats, groups: NDArray[np.intp]) -> _Floats:
    """Return the share of the variance of each row of (rows, trials) that is between groups."""
    members = np.eye(groups.max() + 1)[groups]
    n, k = members.shape
    centred = values - values.mean(axis=1, keepdims=True)
    between = np.square(centred @ members) / members.sum(axis=0)
    share = between.sum(axis=1) / np.square(centred).sum(axis=1)
    adjusted: _Floats = 1 - (1 - share) * (n - 1) / (n - k)
    return adjusted


def _means(
    names: Sequence[str], groups: NDArray[np.intp], gains: _Floats, worse: _Floats
) -> tuple[MethodMean, ...]:
    means = []
    for group, name in enumerate(names):
        inside = groups == group
        ratio, loss = 2 ** float(gains[inside].mean()), float(worse[inside].mean())
        means.append(MethodMean(name, int(inside.sum()), ratio, loss))
    return tuple(sorted(means, key=lambda mean: mean.worsening))
