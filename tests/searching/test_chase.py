"""Aiming at a rise with a model of the world that is only roughly right."""

import math
from collections.abc import Callable

import pytest

from autocompress.outcome.results import TrialResult
from autocompress.plan import CompressionPlan
from autocompress.searching.openings.chase import Chase
from autocompress.searching.openings.uniform import Family

FAMILY = Family("wide", {})


def result(rise: float) -> TrialResult:
    return TrialResult(0, CompressionPlan(treatments={}), {"rise": rise}, True, 0.0, 0.0, 0.0)


def rise_of(one: TrialResult) -> float:
    return one.values["rise"]


def chased(rise_at: Callable[[float], float], limit: float, first: float) -> list[float]:
    """Return the scales that are tried, until the chase ends."""
    chase, scales = Chase(FAMILY, first, limit), list[float]()
    results: list[TrialResult] = []
    while (scale := chase.scale(results, rise_of)) is not None:
        scales.append(scale)
        results.append(result(rise_at(scale)))
    return scales


@pytest.mark.parametrize("limit", [0.002, 0.01, 0.05])
@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("first", [0.3, 1.0, 3.0])
def test_the_coarsest_scale_within_the_limit_is_found(
    limit: float, power: float, first: float
) -> None:
    coarsest = (limit / 0.01) ** (1 / power)
    scales = chased(lambda scale: 0.01 * scale**power, limit, first)
    kept = max(scale for scale in scales if scale <= coarsest)
    assert len(scales) <= 6
    assert kept > 0.9 * coarsest


def test_a_rise_of_zero_can_be_chased() -> None:
    scales = chased(lambda scale: 0.01 * scale**2 - 0.0004, 0.0, 1.0)
    assert min(scales) <= 0.2 * 1.1
    assert any(0.01 * scale**2 - 0.0004 <= 0 for scale in scales)


def test_what_was_rejected_counts_as_far_too_coarse() -> None:
    scales = chased(lambda scale: 0.01 * scale if scale < 2 else math.inf, 0.01, 8.0)
    assert max(scale for scale in scales if scale <= 1) > 0.4


def test_a_family_that_finer_steps_do_not_help_is_left_alone() -> None:
    assert len(chased(lambda scale: 0.2 + 0.001 * scale, 0.01, 1.0)) == 2
    assert len(chased(lambda _: math.inf, 0.01, 1.0)) == 3


def test_a_family_that_finer_steps_soon_stop_helping_is_left_alone() -> None:
    assert len(chased(lambda scale: 0.02 + 0.04 * scale**2, 0.01, 1.0)) == 4


def test_the_next_scale_depends_on_the_results_alone() -> None:
    results = [result(0.02), result(0.004)]
    first, second = Chase(FAMILY, 1.0, 0.01), Chase(FAMILY, 1.0, 0.01)
    first.scale(results[:1], rise_of)
    assert first.scale(results, rise_of) == second.scale(results, rise_of)
