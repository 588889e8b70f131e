"""Searches with tasks and objectives as people write them: when a fault is told, what is kept."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import torch
from mlflow import MlflowClient
from torch import nn
from torch.nn import functional

import autocompress
from autocompress import Measured, Objective, SearchResult, Task
from autocompress.errors import (
    AutocompressError,
    BudgetError,
    ModelError,
    ObjectiveError,
    SearchError,
    TaskError,
)
from autocompress.outcome.objectives import Split
from autocompress.reporting.answer import summary_lines
from autocompress.searching import proposing
from autocompress.searching.folder import SearchFolder
from autocompress.searching.ledger import LEDGER, Ledger
from autocompress.searching.space.language import Space
from autocompress.tracking.figures import plan_params

TWO_PLANS = Space.model_validate(
    {
        "description": "two plans",
        "rules": [
            {
                "name": "matrix",
                "names": ["weight"],
                "structures": [{"kind": "dense"}],
                "precisions": [{"kind": "uniform", "bits": [4, 8], "group": "row"}],
            },
            {
                "name": "rest",
                "structures": [{"kind": "dense"}],
                "precisions": [{"kind": "float16"}],
            },
        ],
    }
)

HARDLY_POSSIBLE = Space.model_validate(
    {
        "description": "as it is, or in vectors that are wider than the rows",
        "rules": [
            {
                "name": "all",
                "structures": [
                    {"kind": "dense"},
                    {
                        "kind": "vector_quantized",
                        "dimension": {"low": 40, "high": 400},
                        "bits": 2,
                        "parts": 1,
                    },
                ],
                "precisions": [{"kind": "uniform", "bits": [4, 8], "group": "row"}],
            }
        ],
    }
)


class Plain(Task):
    """Learns nothing; one can make it raise, and give other numbers."""

    metric = "loss"

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(16, 12, generator=generator)
        self.labels = torch.randint(4, (16,), generator=generator)
        self.on: dict[str, Callable[[], Any]] = {}

    def loss(self, model: nn.Module) -> torch.Tensor:
        return functional.cross_entropy(model(self.inputs), self.labels)

    def evaluate(self, model: nn.Module, split: Split) -> float:
        with torch.no_grad():
            value = self.loss(model).item()
        here = "trial" if multiprocessing.parent_process() else "start"
        for key in (split, here):
            if key in self.on:
                return float(self.on[key]())
        return value

    def calibration_batches(self) -> Iterator[torch.Tensor]:
        yield self.inputs

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[torch.Tensor]:
        yield self.loss(model)


def model() -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Linear(12, 4)


def search(task: Any, out: Path, **changes: Any) -> SearchResult:
    asked: dict[str, Any] = {"space": TWO_PLANS, "trials": 5, "budget": "1MB", **changes}
    return autocompress.search(model(), task, out=out, **asked)


def raising(error: BaseException) -> Callable[[], Any]:
    def function(*_: Any) -> Any:
        raise error

    return function


METHODS = [
    *("evaluate", "calibration_batches", "forward", "training_losses", "part_losses"),
    *("row_frequencies", "fingerprint", "assets", "model_config"),
]


@pytest.mark.parametrize("method", METHODS)
def test_a_fault_in_any_method_is_told_before_any_trial(method: str, out: Path) -> None:
    error = ValueError("bad path")
    broken = type("Mine", (Plain,), {method: raising(error)})()
    with pytest.raises(
        TaskError, match=rf"`task\.{method}\(.*raised ValueError: bad path"
    ) as told:
        search(broken, out)
    assert told.value.__cause__ is error
    assert not (out / "optuna.journal").exists()


@pytest.mark.parametrize("losses", [None, math.nan], ids=["none", "nan"])
def test_recovery_without_losses_is_refused_before_any_trial(losses: Any, out: Path) -> None:
    given = [] if losses is None else [torch.tensor(losses, requires_grad=True)]
    task = type("Mine", (Plain,), {"training_losses": lambda *_: iter(given)})()
    with pytest.raises(TaskError, match=r"training_losses\(\.\.\.\)"):
        search(task, out, recovery="4steps")
    assert not (out / "search.json").exists()


class Counted(Plain):
    """Raises from so many evaluations on, as long as it is broken."""

    calls, first, broken = 0, 3, True

    def evaluate(self, model: nn.Module, split: Split) -> float:
        Counted.calls += 1
        if Counted.broken and Counted.calls >= self.first:
            raise FileNotFoundError("valid.csv")
        return super().evaluate(model, split)


def test_a_task_that_breaks_ends_the_search_and_goes_on_repaired(out: Path) -> None:
    Counted.calls, Counted.broken = 0, True
    with pytest.raises(TaskError, match=r"FileNotFoundError: valid\.csv") as told:
        search(Counted(), out, space="size")
    assert isinstance(told.value.__cause__, FileNotFoundError)
    Counted.broken = False
    result = search(Counted(), out, space="size")
    assert (result.trials, result.without_file) == (5, 0)


@pytest.fixture
def by_value() -> Iterator[None]:
    """Other processes cannot import this file, wherever tests are started."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.mark.usefixtures("by_value")
@pytest.mark.parametrize("kind", ["evaluate", pytest.param("objective", marks=pytest.mark.slow)])
def test_what_another_process_raises_is_told_with_its_traceback(kind: str, out: Path) -> None:
    def fickle(_: Any) -> float:
        if multiprocessing.parent_process() is not None:
            raise ZeroDivisionError("no data")
        return 1.0

    task = Plain()
    if kind == "evaluate":
        task.on["trial"] = lambda: fickle(None)
    own = [Objective("mine", "minimize", fickle)] if kind == "objective" else []
    error = TaskError if kind == "evaluate" else ObjectiveError
    with pytest.raises(
        error, match=r"raised ZeroDivisionError: no data \(.*, in fickle\)"
    ) as told:
        search(task, out, space="size", jobs=2, objectives=own)
    assert isinstance(told.value.__cause__, ZeroDivisionError)
    notes = "\n".join(told.value.__cause__.__notes__)
    assert "in another process" in notes
    assert "in fickle" in notes


def test_a_failed_trial_does_not_end_the_search(out: Path) -> None:
    def fickle(measured: Any) -> float:
        if measured.path.parent.name == "0001":
            raise OverflowError("math range error")
        return 1.0

    own = [Objective("mine", "minimize", fickle)]
    result = search(Plain(), out, space="size", trials=3, objectives=own)
    assert (result.trials, result.without_file) == (3, 1)
    ended = runs_of_trials(out)
    assert {number: run.info.status for number, run in ended.items()} == {
        0: "FINISHED",
        1: "FAILED",
        2: "FINISHED",
    }
    assert "OverflowError: math range error" in ended[1].data.tags["rejected"]
    assert ended[1].data.params["weight.structure"]
    plan = Ledger(out / LEDGER).given_up()[1].plan
    assert plan is not None
    assert ended[1].data.params == plan_params(plan)
    (out / "mlflow.db").unlink()
    assert search(Plain(), out, space="size", trials=3, objectives=own).trials == 3
    assert runs_of_trials(out)[1].data.params == ended[1].data.params


def test_plans_that_fit_no_weight_are_failed_trials(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposing, "_PROPOSALS", 1)
    result = search(Plain(), out, space=HARDLY_POSSIBLE, sampler="random", trials=6)
    ended = runs_of_trials(out)
    assert result.trials == len(ended) == 6
    failed = {one.info.run_id: one for one in ended.values() if one.info.status == "FAILED"}
    assert len(failed) == result.without_file > 0
    for run in failed.values():
        assert run.data.tags["rejected"].startswith("failed: PlanError: ")
        kinds = {run.data.params[f"{name}.structure"] for name in ("weight", "bias")}
        assert "vector_quantized" in kinds


def runs_of_trials(out: Path) -> dict[int, Any]:
    client = MlflowClient(f"sqlite:///{out / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("autocompress")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`autocompress.trial` != ''")
    return {int(run.data.tags["autocompress.trial"]): run for run in runs}


def test_a_metric_that_is_no_number_is_a_plan_that_does_not_count(out: Path) -> None:
    class Diverging(Plain):
        def evaluate(self, model: nn.Module, split: Split) -> float:
            value = super().evaluate(model, split)
            return value if value == EXACT else math.inf

    EXACT = Plain().evaluate(model(), "valid")
    result = search(Diverging(), out, space="size", trials=4)
    assert (result.best, result.trials) == (None, 4)
    trials = SearchFolder(out).trials()
    assert {trial.rejected for trial in trials} <= {"loss is inf", None}
    assert not any(trial.feasible for trial in trials)


def _valid_json(folder: Path) -> None:
    for path in folder.rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)


def test_faults_on_test_data_leave_all_else_whole(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = Plain()
    task.on["test"] = lambda: math.nan
    result = search(task, out)
    assert result.best is not None
    assert result.best.test is None
    assert "the loss of the baseline on test data is nan" in capsys.readouterr().err
    task.on["test"] = raising(KeyError("test"))
    with pytest.raises(TaskError, match=r"KeyError: 'test'.*all else of the search is in") as told:
        search(task, out)
    assert isinstance(told.value.__cause__, KeyError)
    _valid_json(out)
    kept = SearchResult.from_json(json.loads((out / "result.json").read_text(encoding="utf-8")))
    assert kept.best is not None
    lines = summary_lines(kept)
    assert lines[0].startswith("best plan")
    assert not any("nan" in line or "None" in line for line in lines)
    task.on.clear()
    repaired = search(task, out)
    assert repaired.best is not None
    assert repaired.best.test is not None
    assert repaired.best.size_bytes == kept.best.size_bytes


def test_a_space_that_is_exhausted_ends_the_search(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = search(Plain(), out, trials=12)
    plans = [json.dumps(trial.plan.to_json()) for trial in SearchFolder(out).trials()]
    assert len(plans) == len(set(plans)) == result.trials == 2
    assert capsys.readouterr().err.count("the search space is exhausted") == 1
    assert search(Plain(), out, trials=14).trials == 2


def test_a_search_is_not_continued_with_other_data(out: Path) -> None:
    task = Plain()
    search(task, out, trials=1)
    other, shuffled = Plain(), Plain()
    other.labels = (other.labels + 1) % 4
    with pytest.raises(SearchError, match=r"the loss of the uncompressed model was .* and is"):
        search(other, out, trials=2)
    shuffled.calibration_batches = lambda: iter([task.inputs + 1])  # type: ignore[method-assign]
    with pytest.raises(SearchError, match="the calibration batches are others"):
        search(shuffled, out, trials=2)
    (out / "task.json").unlink()  # as earlier versions left it
    with pytest.raises(SearchError, match="the task or its data have changed"):
        search(other, out, trials=2)
    assert search(Plain(), out, trials=2).trials == 2


def test_what_is_reloaded_has_the_models_own_metric(out: Path) -> None:
    numbers = iter(range(1, 100))
    noisy = Plain()
    noisy.on["valid"] = lambda: 1 + 0.1 * next(numbers)
    rule = "must be the same when it is stored and reloaded, but is"
    with pytest.raises(TaskError, match=f"{rule}.* gives 1.3 when it is called again"):
        search(noisy, out)
    task = Plain()
    calls = iter([1.0, 2.0, 1.0])
    task.on["valid"] = lambda: next(calls)
    with pytest.raises(ModelError, match=f"{rule} 1 as handed in and 2 reloaded"):
        search(task, out)
    assert not (out / "optuna.journal").exists()


def test_a_rise_from_nothing_is_stated_in_its_own_unit(out: Path) -> None:
    class Wrong(Plain):
        metric = "errors"

        def evaluate(self, model: nn.Module, split: Split) -> float:
            return int((model(self.inputs).argmax(1) != REAL).sum())

    REAL = model()(Wrong().inputs).argmax(1)
    with pytest.raises(BudgetError, match=r'is a share of .* but that is 0;.*max_rise="\+0\.5"'):
        search(Wrong(), out, max_rise="10%")
    result = search(Wrong(), out, max_rise="+16", budget=None)
    assert result.max_rise == "+16.0"
    assert result.best is not None
    assert result.change(result.best) == f"{result.best.values['errors']:+.4g}"
    lines = "\n".join(summary_lines(result))
    assert "best plan under +16" in lines
    assert "of the rise by 16 are left" in lines
    assert result == SearchResult.from_json(result.to_json())


def test_a_relative_folder_stays_where_it_was(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(out.parent)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    task = Plain()

    def wander() -> float:
        os.chdir(elsewhere)
        return 1.0

    task.on["test"] = wander
    result = search(task, Path(out.name), trials=1)
    assert result.best is not None
    assert result.best.artifact == out / "trials" / "0000" / "model.acz"
    assert not list(elsewhere.iterdir())


def test_what_was_found_is_said_at_once(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search(Plain(), out, trials=1)
    said = capsys.readouterr().err
    assert "found in the model: 52 numbers in 2 tensors: 1 of linear, 1 bias" in said
    assert said.index("found in the model") < said.index("planning")


def few(_: Measured) -> float:
    return 1.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"trials": 2.5}, {"trials": "3"}, {"jobs": True}, {"seed": -1}, {"seed": None},
        {"timeout": 30}, {"latency_budget": 0.5}, {"recovery": 50}, {"recovery": True},
        {"objectives": [lambda _: 1.0]}, {"objectives": Objective("a", "minimize", few)},
        {"space": 3}, {"budget": True}, {"max_rise": True}, {"max_rise": "0.02"},
        {"max_rise": "-1%"},
    ],
    ids=lambda given: next(iter(given)),
)  # fmt: skip
def test_arguments_of_wrong_kinds_are_refused_before_any_work(
    wrong: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(AutocompressError) as told:
        search(Plain(), tmp_path / "a", **wrong)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "a").exists()
