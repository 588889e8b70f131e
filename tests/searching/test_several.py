"""Several models under one budget: who gets trials, who is left out, and limits of all."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from toys import Classification, Classifier, teacher

import autocompress
from autocompress.errors import BudgetError, ModelError, ObjectiveError, SearchError
from autocompress.knowledge.guarded import guarded
from autocompress.outcome.budgets import parse_budget
from autocompress.outcome.contenders import Contender, number_of, own_number
from autocompress.outcome.prospects import Curve
from autocompress.outcome.results import Scored, SearchResult
from autocompress.searching.effort import Effort
from autocompress.searching.request import Request
from autocompress.searching.several.asking import asked_of
from autocompress.searching.several.joined import JoinedFolder, Seen
from autocompress.searching.several.models import unique_names
from autocompress.searching.several.outlook import hopeless, of_another
from autocompress.searching.several.schedule import Schedule, Turn, next_turn, shares_of
from autocompress.searching.space.language import load_space


def scored(model: str, size: int, value: float, trial: int = 0) -> Scored:
    values = {"size_bytes": size, "perplexity": value}
    return Scored(trial, Path(f"{model}-{size}"), values, None, "", model=model)


def result_of(front: list[Scored], budget: int | None = 1000) -> SearchResult:
    return SearchResult(
        name="a+b",
        metric="perplexity",
        directions={"size_bytes": "minimize", "perplexity": "minimize"},
        budget_bytes=budget,
        baseline=scored("b", 8000, 80.0),
        best=min(front, key=lambda one: one.values["perplexity"], default=None),
        front=tuple(front),
        trials=9,
        smallest_bytes=100,
        seconds=1.0,
        models=tuple(Contender(name, 8000, 2000, 80.0) for name in "ab"),
    )


def seen(name: str, n_weights: int, score: float, least: int = 50) -> Seen:
    return Seen(name, name, least, 4 * n_weights + least, n_weights, score, None)


@pytest.mark.parametrize("n_models", [2, 3, 7])
def test_numbers_tell_model_and_trial(n_models: int) -> None:
    pairs = [(model, own) for own in range(4) for model in range(n_models)]
    numbers = [number_of(own, model, n_models) for model, own in pairs]
    assert sorted(numbers) == list(range(4 * n_models))
    assert [own_number(number, n_models) for number in numbers] == pairs


def test_names_differ_and_are_those_of_folders() -> None:
    assert unique_names(["net", "Net", "net"]) == ["net", "Net-2", "net-3"]
    for name in ("", "a/b", "..", "a:b"):
        with pytest.raises(ModelError, match="name of a model"):
            unique_names(["net", name])


def play(shares: Mapping[str, float], trials: int, left_out: tuple[str, ...] = ()) -> list[str]:
    """Return whose turn it is, one after the other."""
    schedule = Schedule(dict.fromkeys(left_out, "for a test"))
    ended, turns = dict.fromkeys("abc", 0), []
    while (turn := next_turn(schedule, ended, trials, shares)) is not None:
        turns += [turn.model] * (turn.until - ended[turn.model])
        ended[turn.model] = turn.until
        schedule = Schedule(schedule.left_out, schedule.opened, turn).done()
    return turns


def test_openings_come_first_and_then_what_the_front_is_made_of() -> None:
    turns = play({"a": 0.0, "b": 3.0, "c": 1.0}, trials=36)
    assert turns[:18] == ["a"] * 6 + ["b"] * 6 + ["c"] * 6
    assert len(turns) == 36
    further = turns[18:]
    assert "a" not in further
    assert further.count("b") > 2 * further.count("c") > 0


def test_what_is_left_out_gets_nothing_and_few_trials_are_shared() -> None:
    assert set(play({"a": 1.0, "b": 1.0, "c": 1.0}, 12, left_out=("c",))) == {"a", "b"}
    assert play({"a": 1.0}, 4) == ["a", "b", "c", "a"]
    assert play({"a": 1.0}, 9, left_out=("a", "b", "c")) == []


def test_a_schedule_is_kept(tmp_path: Path) -> None:
    schedule = Schedule({"a": "too large"}, ("b",), Turn("b", 7))
    schedule.save(tmp_path)
    assert Schedule.of(tmp_path) == schedule
    (tmp_path / "schedule.json").write_text("{")
    assert Schedule.of(tmp_path) == Schedule()


def test_names_of_models_stay_within_the_folder(tmp_path: Path) -> None:
    JoinedFolder(tmp_path).save_seen("a", (seen("a", 100, 9.0),))
    assert [one.name for one in JoinedFolder(tmp_path).seen] == ["a"]
    document = (tmp_path / "models.json").read_text().replace('"a"', '"../a"')
    (tmp_path / "models.json").write_text(document)
    assert not JoinedFolder(tmp_path).seen  # put aside, as what is damaged
    assert (tmp_path / "models.json.damaged").exists()


def test_shares_count_what_is_near_the_best() -> None:
    front = [scored("a", 100, 99.0), scored("a", 200, 95.0), scored("b", 900, 85.0)]
    shares = shares_of(result_of(front), ["a", "b"])
    assert shares["b"] > shares["a"] > 0
    free = shares_of(result_of(front, budget=None), ["a", "b"])
    assert free == {"a": 2.0, "b": 1.0}


def test_a_model_is_left_out_only_where_a_third_of_the_prediction_is_too_much() -> None:
    result = result_of([scored("a", 500, 100.0), scored("a", 900, 90.0)])
    large = seen("b", 2000, 80.0)

    def curve(rise: float) -> Curve:
        return Curve(((100.0, 9.0), (800.0, rise), (8000.0, 0.001)), 8000)

    assert hopeless(result, large, curve(0.3)) is None  # a third of it: 88.4
    reason = hopeless(result, large, curve(0.9))  # a third of it: 108
    assert reason is not None
    told = "perplexity 196.8 is predicted for 850 B, where there is perplexity 90 in 900 B"
    assert reason == told
    assert hopeless(result, large, curve(0.9), trust=0.5) is None
    assert hopeless(result_of([]), large, curve(9.0)) is None
    tiny = Curve(((5000.0, 0.1), (8000.0, 0.001)), 8000)
    assert hopeless(result, large, tiny) == "the search space offers nothing so small"
    twice = of_another(curve(0.6), large, seen("c", 4000, 70.0))
    assert twice.points[1] == (1600.0, 0.6)


def request(**others: object) -> Request:
    return Request("a+b", load_space("quick"), Effort(9, 9.0), **others)  # type: ignore[arg-type]


def test_relative_limits_are_those_of_the_best_uncompressed_model() -> None:
    task = guarded(Classification())  # accuracy: more is better
    models = [seen("a", 1000, 0.8), seen("b", 4000, 0.9), seen("c", 9000, 0.85)]
    asked = asked_of(request(max_rise=0.1), parse_budget("10x"), models, task)
    assert asked.whole.budget_bytes == models[1].size_bytes // 10
    assert {one.budget_bytes for one in asked.own.values()} == {asked.whole.budget_bytes}
    assert asked.left_out.keys() == {"a"}
    assert "0.8, where 0.81 is allowed" in asked.left_out["a"]
    rises = {name: float(str(one.max_rise)) for name, one in asked.own.items()}
    assert rises == pytest.approx({"a": 0.0, "b": 0.09, "c": 0.04})
    bits = asked_of(request(), parse_budget("3bpw"), models, task)
    assert bits.whole.budget_bytes == 1500
    with pytest.raises(BudgetError, match="must hold for these models"):
        asked_of(request(), parse_budget(49), models, task)


def narrow() -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Classifier(width=8).eval()


def test_lists_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    models, task = [narrow(), teacher()], Classification()
    with pytest.raises(ModelError, match="as many names"):
        autocompress.search(models, task, name="both", out=tmp_path)
    with pytest.raises(ModelError, match="as many names"):
        autocompress.search([], task, out=tmp_path)
    with pytest.raises(ModelError, match="must be a text"):
        autocompress.search(teacher(), task, name=["one", "two"], out=tmp_path)
    named = autocompress.Objective("model", "minimize", lambda _: 1.0)
    with pytest.raises(ObjectiveError, match="told apart by"):
        autocompress.search(models, task, objectives=[named], out=tmp_path)
    with pytest.raises(SearchError, match="latency"):
        autocompress.search(models, task, space="balanced", out=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_limit_on_the_rise_fine_tuning_and_an_interruption(out: Path, tmp_path: Path) -> None:
    class Impatient(Classification):
        calls = -1000

        def fingerprint(self) -> str:
            return "the same data"

        def evaluate(self, model: torch.nn.Module, split: str) -> float:
            Impatient.calls += 1
            if Impatient.calls == 0:
                raise KeyboardInterrupt
            return super().evaluate(model, split)  # type: ignore[arg-type]

    def found(folder: Path) -> SearchResult:
        return autocompress.search(
            [narrow(), teacher(), teacher()],
            Impatient(),
            max_rise="10%",
            trials=8,
            space="quick",
            name=["narrow", "wide", "wide"],
            recovery="6steps",
            out=folder,
        )

    result = found(out)
    assert [one.name for one in result.models] == ["narrow", "wide", "wide-2"]
    assert result.models[0].left_out is not None
    assert result.models[0].trials == 0
    assert result.baseline.model == "wide"
    assert result.best is not None
    assert all(one.values["accuracy"] >= 0.9 for one in result.front)
    assert {one.model for one in (*result.recovered, *result.controls)} == {result.best.model}
    Impatient.calls = -6
    with pytest.raises(KeyboardInterrupt):
        found(tmp_path / "other")
    Impatient.calls = 1
    again = found(tmp_path / "other")
    one, other = (json.dumps(each.to_json()["models"]) for each in (result, again))
    assert one == other
    assert [each.artifact.read_bytes() for each in result.front] == [
        each.artifact.read_bytes() for each in again.front
    ]
