"""Results: the front, and documents that come back as they were."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from strategies import mixed_plan

from autocompress.errors import PlanError
from autocompress.outcome.metric import Direction
from autocompress.outcome.names import SIZE
from autocompress.outcome.results import Scored, SearchResult, TrialResult, pareto_front

PLAN = mixed_plan()


def trial(number: int, values: Mapping[str, float], *, feasible: bool = True) -> TrialResult:
    return TrialResult(number, PLAN, values, feasible, 1e9 + number, 0.5, 0.25)


def random_trials(names: list[str], seed: int, n_values: int) -> list[TrialResult]:
    """Return 60 shuffled trials; few values make many ties."""
    generator = np.random.default_rng(seed)
    trials = []
    for number in generator.permutation(60):
        values = dict(zip(names, generator.integers(n_values, size=len(names)), strict=True))
        floats = {name: float(value) for name, value in values.items()}
        trials.append(trial(int(number), floats, feasible=bool(generator.random() < 0.8)))
    return trials


def beaten(one: TrialResult, other: TrialResult, directions: Mapping[str, Direction]) -> bool:
    better = worse = False
    for name, direction in directions.items():
        gain = one.values[name] - other.values[name]
        gain = gain if direction == "minimize" else -gain
        better, worse = better or gain > 0, worse or gain < 0
    return not worse and (better or other.number < one.number)


DIRECTIONS: list[dict[str, Direction]] = [
    {SIZE: "minimize"},
    {SIZE: "minimize", "perplexity": "minimize"},
    {SIZE: "minimize", "accuracy": "maximize"},
    {SIZE: "minimize", "accuracy": "maximize", "latency": "minimize"},
]


@pytest.mark.parametrize("n_values", [3, 12, 10**6])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("directions", DIRECTIONS, ids=lambda directions: "-".join(directions))
def test_the_front_equals_brute_force(
    directions: dict[str, Direction], seed: int, n_values: int
) -> None:
    trials = random_trials(list(directions), seed, n_values)
    feasible = [one for one in trials if one.feasible]
    expected = {
        one.number
        for one in feasible
        if not any(beaten(one, other, directions) for other in feasible if other is not one)
    }
    assert {one.number for one in pareto_front(trials, directions)} == expected


def test_the_front_is_sorted_by_size() -> None:
    trials = random_trials([SIZE, "perplexity"], 1, 10**6)
    front = pareto_front(trials, DIRECTIONS[1])
    assert len(front) > 2
    assert [one.size_bytes for one in front] == sorted(one.size_bytes for one in front)


def test_of_equal_trials_the_earliest_stays() -> None:
    trials = [trial(number, {SIZE: 3.0, "perplexity": 2.0}) for number in (5, 2, 9)]
    assert [one.number for one in pareto_front(trials, DIRECTIONS[1])] == [2]


def test_trials_may_come_from_a_generator() -> None:
    front = pareto_front((trial(n, {SIZE: 1.0 + n}) for n in range(3)), DIRECTIONS[0])
    assert [one.number for one in front] == [0]


def test_infeasible_trials_need_no_other_values() -> None:
    trials = [trial(0, {SIZE: 9.0}, feasible=False), trial(1, {SIZE: 5.0, "perplexity": 2.0})]
    assert [one.number for one in pareto_front(trials, DIRECTIONS[1])] == [1]


def test_no_trials_have_no_front() -> None:
    assert pareto_front([], DIRECTIONS[1]) == []


def test_a_trial_survives_json() -> None:
    one = trial(3, {SIZE: 1234.0, "perplexity": 1 / 3})
    assert TrialResult.from_json(json.loads(json.dumps(one.to_json()))) == one


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_a_trial_of_other_keys_is_refused(change: str) -> None:
    document = trial(3, {SIZE: 1.0}).to_json()
    document = {**document, "hue": 1} if change == "unknown" else {**document}
    if change == "missing":
        del document["seconds"]
    with pytest.raises(TypeError):
        TrialResult.from_json(document)


def test_a_trial_without_a_plan_is_refused() -> None:
    with pytest.raises(PlanError, match="not a plan"):
        TrialResult.from_json({**trial(3, {SIZE: 1.0}).to_json(), "plan": {}})


def scored(number: int | None, size: int, perplexity: float, test: float | None = None) -> Scored:
    values = {SIZE: float(size), "perplexity": perplexity, "latency": 0.1 * size}
    return Scored(number, Path("front") / f"{number}.acz", values, test, "rank 6 + fp16")


RESULT = SearchResult(
    name="ptb-small",
    metric="perplexity",
    directions={SIZE: "minimize", "perplexity": "minimize", "latency": "minimize"},
    budget_bytes=2_000_000,
    baseline=scored(None, 4000, 100.0, 99.0),
    best=scored(4, 800, 101.0, 100.5),
    front=(scored(2, 500, 120.0, 119.0), scored(4, 800, 101.0, 100.5)),
    trials=7,
    smallest_bytes=321,
    seconds=12.5,
)
UNFINISHED = replace(RESULT, best=None, front=(), budget_bytes=None, smallest_bytes=None)


@pytest.mark.parametrize(
    "result", [RESULT, UNFINISHED, replace(RESULT, front=(scored(1, 9, 2.0),))]
)
def test_a_search_result_survives_json(result: SearchResult) -> None:
    assert SearchResult.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_the_names_of_the_metric_tell_the_split() -> None:
    document = RESULT.to_json()["best"]
    assert (document["valid_perplexity"], document["test_perplexity"]) == (101.0, 100.5)


def test_sizes_are_whole_bytes_in_the_document() -> None:
    assert '"size_bytes": 800,' in json.dumps(RESULT.to_json()["best"])


def test_the_rise_is_relative_to_the_baseline() -> None:
    assert RESULT.rise(RESULT.front[0]) == pytest.approx(0.2)


@pytest.mark.parametrize(("now", "rise"), [(0.0, 0), (0.5, math.inf), (-0.5, -math.inf)])
def test_the_rise_from_zero_is_none_or_infinite(now: float, rise: float) -> None:
    result = replace(RESULT, baseline=scored(None, 4000, 0.0))
    assert result.rise(scored(1, 500, now)) == rise


def test_the_ratio_counts_how_often_a_file_fits_into_the_baseline() -> None:
    assert RESULT.ratio(RESULT.front[1]) == 5
