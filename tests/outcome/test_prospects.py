"""What a budget buys, and by how much limits are missed: by hand."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from autocompress.outcome.cautions import cautions
from autocompress.outcome.metric import Direction
from autocompress.outcome.misses import misses_of
from autocompress.outcome.prospects import Curve, Prospect, prospects, sound
from autocompress.outcome.results import Scored, SearchResult, TrialResult
from autocompress.plan import CompressionPlan
from autocompress.reporting.answer import prospect_parts, summary_lines
from autocompress.reporting.rows import prospect_rows

PLAN = CompressionPlan.from_json(
    {"treatments": {"w": {"structure": {"kind": "dense"}, "precision": {"kind": "float16"}}}}
)
# 1,000 bytes beside the numbers: a file of 20,000 bytes has numbers of 19,000, and so on.
CURVE = Curve(((1_000.0, 1.6), (2_000.0, 0.4), (4_000.0, 0.1), (9_000.0, 0.01)), 99_000)


def scored(trial: int | None, size: int, value: float, **others: float) -> Scored:
    values = {"size_bytes": float(size), "score": value, **others}
    return Scored(trial, Path(f"{trial}.acz"), values, None, "w")


def found(direction: Direction = "minimize", baseline: float = 10.0) -> SearchResult:
    return SearchResult(
        name="mine",
        metric="score",
        directions={"size_bytes": "minimize", "score": direction},
        budget_bytes=None,
        baseline=scored(None, 100_000, baseline),
        best=None,
        front=(),
        trials=4,
        smallest_bytes=100,
        seconds=1.0,
    )


def trial(number: int, size: int, value: float, predicted: float | None = None) -> TrialResult:
    values = {"size_bytes": float(size), "score": value}
    return TrialResult(number, PLAN, values, True, 1.0, 1.0, 1.0, predicted=predicted)


def test_before_any_trial_all_is_predicted() -> None:
    two, five, ten, twenty, forty = prospects(found(), [], CURVE)
    assert [one.times for one in (two, five, ten, twenty, forty)] == [2, 5, 10, 20, 40]
    assert {one.trial for one in (two, five, ten, twenty, forty)} == {None}
    assert two.rise == pytest.approx(math.expm1(0.01))  # more bytes than the finest plan has
    assert ten.size_bytes == 10_000
    assert ten.rise == pytest.approx(math.expm1(0.01))
    assert twenty.rise == pytest.approx(math.expm1(0.1))
    assert forty.rise == pytest.approx(math.expm1(0.1 * 16 ** (math.log2(4 / 1.5) / 2)), rel=0.2)
    small = found()
    small = replace(small, baseline=scored(None, 60_000, 10.0))
    assert prospects(small, [], replace(CURVE, numbers_bytes=59_000))[-1].rise is None


def test_what_trials_have_shown_is_measured() -> None:
    trials = [trial(0, 9_900, 10.2), trial(1, 9_000, 10.1), trial(2, 3_000, 13.0)]
    told = {one.times: one for one in prospects(found(), trials, CURVE)}
    assert told[10].trial == 1
    assert told[10].rise == pytest.approx(0.01)
    assert told[10].size_bytes == 9_000
    assert told[20].trial is None
    assert told[20].rise == pytest.approx(math.expm1(0.1))
    # Where even a much smaller file is better than predicted, it is what a budget buys.
    assert told[2].trial == 1
    without = {one.times: one for one in prospects(found(), trials, None)}
    assert without.keys() == {2, 5, 10, 20}
    assert without[20].trial == 2


def test_a_poor_plan_of_the_size_does_not_tell_what_can_be_had() -> None:
    told = {one.times: one for one in prospects(found(), [trial(0, 9_900, 24.0)], CURVE)}
    assert told[10].trial is None
    assert told[10].rise == pytest.approx(math.expm1(0.01))


@pytest.mark.parametrize("count", [1, 3])
def test_predictions_are_corrected_by_trials_of_their_like(count: int) -> None:
    trials = [trial(n, 2_000 + n, 10 * math.exp(0.8), 0.4) for n in range(count)]
    (ten,) = (one for one in prospects(found(), trials, CURVE) if one.times == 10)
    assert ten.rise == pytest.approx(math.expm1(0.02))
    smallest = sound(found(), trials, CURVE)
    assert smallest is not None
    assert smallest.rise == pytest.approx(0.1)
    half = CURVE.n_bytes(math.log1p(0.1) / 2) + 1_000
    assert smallest.size_bytes == pytest.approx(half, rel=1e-3)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_loss_is_one_whichever_way_is_better(direction: Direction) -> None:
    value = 11.0 if direction == "minimize" else 9.0
    result = found(direction)
    shown = prospects(result, [trial(0, 9_900, value)], None)
    assert shown[-1].rise == pytest.approx(0.1)
    rows = prospect_rows(replace(result, prospects=shown))
    sign = "+" if direction == "minimize" else "-"
    assert rows[-1] == ["10x", "9.9 kB", f"{sign}10.00 %", "measured, trial 0, 10.1x"]


def test_of_a_metric_of_zero_nothing_is_a_share() -> None:
    assert prospects(found(baseline=0.0), [trial(0, 9_900, 1.0)], CURVE) == ()


def test_it_is_said_what_is_predicted_useless_or_impossible() -> None:
    assert prospect_rows(replace(found(), prospects=(Prospect(2, 9, 1e-6, None),)))[0][2] == (
        "below 0.01 %"
    )
    told = (Prospect(10, 9, 0.02, None), Prospect(20, 5, 3.0, None), Prospect(40, 2, None, None))
    rows = prospect_rows(replace(found(), prospects=told))
    assert [row[2] for row in rows] == ["about +2 %", "useless", "not possible"]
    assert rows[0][3] == "predicted"
    lines = prospect_parts(replace(found(), prospects=told))
    assert lines[1] == "what a budget buys:"
    assert prospect_parts(found()) == []


def test_a_curve_is_read_as_it_was_written() -> None:
    assert Curve.from_json(json.loads(json.dumps(asdict(CURVE)))) == CURVE
    for broken in (None, {}, {"points": [], "numbers_bytes": 1}, {"points": [[1, "x"]]}):
        with pytest.raises((TypeError, LookupError, ValueError)):
            Curve.from_json(broken)


def test_a_useless_best_is_told_with_what_would_not_be() -> None:
    best = scored(0, 400, 89.2)
    result = replace(found(), budget_bytes=500, best=best, front=(best,))
    predicted = replace(result, sound=Prospect(10, 9_000, 0.1, None))
    assert cautions(predicted)[0].endswith("about 9 kB should keep it within +10 %, as predicted")
    measured = replace(result, sound=Prospect(11, 9_000, 0.08, 3))
    assert cautions(measured)[0].endswith("trial 3 keeps it within +10 % in 9 kB")
    assert SearchResult.from_json(json.loads(json.dumps(measured.to_json()))) == measured


def test_a_miss_tells_which_limit_and_by_how_much() -> None:
    near, far = scored(3, 9_000, 10.17), scored(4, 700, 13.0)
    result = replace(found(), budget_bytes=500, max_rise=0.015, misses=(near, far))
    size, rise = misses_of(result, near)
    assert str(size) == "9 kB where 500 B are allowed, 18 times that"
    assert str(rise) == "score +1.70 % where +1.5 % is allowed, 0.2 points too much"
    assert [miss.objective for miss in misses_of(result, far)] == ["size_bytes", "score"]
    lines = summary_lines(replace(result, budget_bytes=None))
    assert lines[0] == "no plan found is under +1.5 %"
    assert lines[1] == f"the nearest, trial 3: {rise}"
    assert lines[3].split() == ["trial", "size", "smaller", "change", "misses", "file"]
    assert lines[4].split() == ["3", "9", "kB", "11.1x", "+1.70", "%", "score", "3.acz"]
    assert SearchResult.from_json(json.loads(json.dumps(result.to_json()))) == result


@pytest.mark.parametrize(("noise", "side"), [(0.002, "within"), (0.0005, "beyond")])
def test_a_miss_tells_whether_it_is_within_the_noise(noise: float, side: str) -> None:
    near = scored(3, 9_000, 10.17)
    result = replace(found(), max_rise=0.015, misses=(near,), noise=noise)
    (miss,) = misses_of(result, near)
    assert miss.within_noise == (side == "within")
    assert str(miss).endswith(f"{side} the noise of its measurement (±{200 * noise:.2g} %)")


def test_a_miss_in_the_unit_of_the_metric_and_of_latency() -> None:
    near = scored(3, 9_000, 0.8, latency=0.252, latency_noise=0.01)
    result = replace(found("maximize", 1.0), max_rise="+0.1", limits={"latency": 0.25})
    result = replace(result, directions={**result.directions, "latency": "minimize"})
    score, latency = misses_of(result, near)
    assert str(score) == "score -0.2 where -0.1 is allowed, 0.1 too much"
    assert latency.within_noise
    assert str(latency).startswith("latency 0.252 where 0.25 is allowed, 0.8 % too much, within")


def test_reprs_are_short() -> None:
    best = scored(3, 9_000, 10.1)
    result = replace(found(), best=best, front=(best,), given_up=1)
    told = "best trial 3, 9 kB, 11.1x smaller, score 10.1 (+1.00 %)"
    assert repr(result) == f"<SearchResult mine: 4 trials, 3 measured, 1 on the front; {told}>"
    assert repr(best) == "<Scored trial 3: 9 kB, score 10.1>"
    assert repr(trial(0, 9_000, 10.1)) == "<TrialResult 0: 9 kB, score 10.1; sampler>"
    miss = replace(result, best=None, front=(), misses=(best,))
    assert "no plan keeps the limits, nearest trial 3" in repr(miss)
