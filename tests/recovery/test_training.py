import json
from pathlib import Path

import pytest
import torch
from toys import Classification, Classifier, teacher

import autocompress
from autocompress import Budget, SearchResult, TrialResult
from autocompress.errors import BudgetError, TaskError
from autocompress.outcome.objectives import Split
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import EntropyStep
from autocompress.recovery import RecoveryBudget, RecoverySettings, recover
from autocompress.searching.folder import SearchFolder
from autocompress.structures import Dense
from autocompress.trial.evaluator import Evaluator

SETTINGS = RecoverySettings(RecoveryBudget(steps=200), dropout=0.0, learning_rate=0.02)


class Silent(Classification):
    def training_losses(self, *_: object) -> object:  # type: ignore[override]
        return iter(())


class Broken(Classification):
    """Stops in the middle, as a process that is killed."""

    evaluations = 0

    def evaluate(self, model: torch.nn.Module, split: Split) -> float:
        self.evaluations += 1
        if self.evaluations == 4:
            raise KeyboardInterrupt
        return super().evaluate(model, split)


def coarse(evaluator: Evaluator) -> CompressionPlan:
    treatment = Treatment(structure=Dense(), precision=EntropyStep(step=2.5))
    return CompressionPlan(treatments=dict.fromkeys(evaluator.source.weights.weights, treatment))


def run(folder: Path, task: Classification, budget: Budget | None = None) -> TrialResult:
    limits = {} if budget is None else {"size_bytes": budget.limit}
    evaluator = Evaluator.of(teacher(), task, limits)
    return recover(teacher(), task, evaluator, coarse(evaluator), folder, SETTINGS, 7)


def test_recovery_regains_what_compression_lost(tmp_path: Path) -> None:
    task = Classification()
    evaluator = Evaluator.of(teacher(), task)
    before = evaluator.run(0, coarse(evaluator), tmp_path / "before.acz")
    after = run(tmp_path, task)
    assert before.values["accuracy"] < 0.9
    assert after.values["accuracy"] > before.values["accuracy"] + 0.05


def test_the_numbers_are_those_of_the_file(tmp_path: Path) -> None:
    result = run(tmp_path, Classification())
    path = tmp_path / "model.acz"
    assert result.number == 7
    assert result.size_bytes == path.stat().st_size
    model = autocompress.load(path, Classifier())
    assert result.values["accuracy"] == Classification().evaluate(model, "valid")


@pytest.mark.slow
def test_an_interrupted_recovery_gives_the_same_bytes(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", Classification())
    task = Broken()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", task)
    continued = run(tmp_path / "broken", task)
    assert continued.values == whole.values
    files = [tmp_path / name / "model.acz" for name in ("whole", "broken")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_files_above_the_budget_are_not_chosen(tmp_path: Path) -> None:
    result = run(tmp_path, Classification(), Budget(1000))
    assert not result.feasible
    assert list(result.values) == ["size_bytes"]


def test_a_task_without_losses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"trains with `task\.training_losses"):
        run(tmp_path, Silent())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", RecoveryBudget(seconds=90)),
        ("10m", RecoveryBudget(seconds=600)),
        ("1.5h", RecoveryBudget(seconds=5400)),
        ("2000steps", RecoveryBudget(steps=2000)),
        ("2000 steps", RecoveryBudget(steps=2000)),
    ],
)
def test_budgets_are_times_or_steps(text: str, expected: RecoveryBudget) -> None:
    assert RecoveryBudget.parse(text) == expected


@pytest.mark.parametrize("text", ["", "10", "ten minutes", "-5m", "0s", "0steps", "10MB"])
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(BudgetError):
        RecoveryBudget.parse(text)


@pytest.mark.slow
def test_with_a_limit_on_the_rise_a_smaller_plan_is_recovered(out: Path) -> None:
    """The plan that is fine-tuned may be up to ten points above the limit before."""
    found = autocompress.search(
        teacher(), Classification(), max_rise="2%", trials=18, out=out, recovery="60steps"
    )
    recovered = found.recovered[0]
    before = SearchFolder(out).trial(recovered.trial or 0)
    assert before is not None
    baseline = found.baseline.values["accuracy"]
    assert before.values["accuracy"] >= 0.88 * baseline
    smallest = found.front[0]
    assert recovered.size_bytes <= before.size_bytes < smallest.size_bytes
    assert found.keeps_limits(recovered) is (recovered.values["accuracy"] >= 0.98 * baseline)
    assert found.best == (recovered if found.keeps_limits(recovered) else smallest)


def test_a_wide_budget_is_not_filled_by_finer_and_finer_steps(tmp_path: Path) -> None:
    result = run(tmp_path, Classification(), Budget(10**7))
    assert result.size_bytes < 60_000


def test_a_search_recovers_its_best_plan_beside_a_control(out: Path) -> None:
    def find() -> SearchResult:
        return autocompress.search(
            teacher(), Classification(), budget=9000, trials=9, out=out, recovery="30steps"
        )

    found = find()
    assert len(found.recovered) == len(found.controls) == 1
    assert found.recovered[0].size_bytes == found.recovered[0].artifact.stat().st_size <= 9000
    assert found.recovered[0].test is not None
    candidates = (*found.front, *found.recovered)
    assert found.best == max(candidates, key=lambda one: one.values["accuracy"])
    assert found.controls[0].size_bytes > 9000
    written = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert SearchResult.from_json(written).recovered == found.recovered
    folder = found.recovered[0].artifact.parent
    assert {path.name for path in folder.iterdir()} == {
        *("model.acz", "trial.json", "training.json", "method.json")
    }
    times = found.recovered[0].artifact.stat().st_mtime_ns
    assert find().recovered == found.recovered
    assert found.recovered[0].artifact.stat().st_mtime_ns == times
