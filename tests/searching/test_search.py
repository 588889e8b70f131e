"""The search as a Python user calls it, on a model that knows nothing of words."""

import json
import multiprocessing
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from toys import Classification, Classifier, teacher

import autocompress
from autocompress import Measured, Objective, SearchResult
from autocompress.errors import (
    BudgetError,
    LostWorkersError,
    ModelError,
    ObjectiveError,
    SearchError,
)
from autocompress.reporting.answer import summary_lines
from autocompress.searching.executors import Outcome, this_process
from autocompress.searching.executors.base import outcome_of
from autocompress.searching.folder import SearchFolder
from autocompress.searching.jobs import Bench, Job
from autocompress.structures import STRUCTURES

BUDGET = 12_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """A finished search of fourteen trials."""
    out = tmp_path_factory.mktemp("search")
    shutil.copy(empty_database, out)
    autocompress.search(teacher(), Classification(), budget=BUDGET, trials=14, out=out)
    return out


@pytest.fixture
def found(folder: Path) -> SearchResult:
    document = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return SearchResult.from_json(document)


def files(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.glob("trials/*/model.acz")}


# The code of a user with a model and an objective of his own.
class Parity(autocompress.Task):
    metric, direction = "accuracy", "maximize"

    def __init__(self) -> None:
        self.bits = torch.randint(2, (200, 6), generator=torch.Generator().manual_seed(0))

    def evaluate(self, model: nn.Module, split: autocompress.outcome.objectives.Split) -> float:
        part = self.bits[:100] if split == "valid" else self.bits[100:]
        return float((model(part).argmax(1) == part.sum(1) % 2).float().mean())

    def calibration_batches(self) -> Iterator[torch.Tensor]:
        yield self.bits


def few_bits(measured: Measured) -> float:
    lines = measured.artifact.report()
    low = sum(line.size_bytes for line in lines if line.bits_per_weight <= 4)
    return low / sum(line.size_bytes for line in lines)


def test_a_model_and_an_objective_of_ones_own(tmp_path: Path) -> None:
    share = Objective("share_of_low_bits", "maximize", few_bits)
    result = autocompress.search(
        Classifier(n_tokens=2), Parity(), objectives=[share], trials=6, out=tmp_path
    )
    assert result.trials == 6
    assert list(result.directions) == ["size_bytes", "accuracy", "share_of_low_bits"]
    assert all(0 <= member.values["share_of_low_bits"] <= 1 for member in result.front)
    reopened = autocompress.open_artifact(result.front[0].artifact)
    assert result.front[0].size_bytes == reopened.size_bytes


def test_the_best_is_in_the_budget_and_on_the_front(found: SearchResult) -> None:
    assert found.best is not None
    assert found.best.size_bytes <= BUDGET
    assert found.best in found.front
    assert found.best.values["accuracy"] == max(m.values["accuracy"] for m in found.front)


def test_sizes_are_those_of_the_files(found: SearchResult) -> None:
    for member in (found.baseline, *found.front):
        assert member.size_bytes == member.artifact.stat().st_size


def test_scores_are_those_of_the_reloaded_files(found: SearchResult) -> None:
    task = Classification()
    for member in found.front:
        model = autocompress.load(member.artifact, Classifier())
        assert task.evaluate(model, "valid") == member.values["accuracy"]
        assert task.evaluate(model, "test") == member.test


def test_the_users_model_is_left_as_it_was(out: Path) -> None:
    model = teacher().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    autocompress.search(model, Classification(), trials=2, out=out)
    assert model.training
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())


@pytest.mark.slow
def test_every_method_at_once_can_be_searched(out: Path) -> None:
    result = autocompress.search(
        teacher(), Classification(), space="all", trials=40, out=out, seed=1
    )
    kinds = {
        treatment.structure.kind
        for trial in SearchFolder(out).trials()
        for treatment in trial.plan.treatments.values()
    }
    assert result.trials > 10
    own = {kind for kind, cls in STRUCTURES.items() if cls.__module__.startswith("autocompress")}
    assert kinds == own


def test_files_above_the_budget_are_not_evaluated(folder: Path) -> None:
    rejected = [trial for trial in SearchFolder(folder).trials() if not trial.feasible]
    assert rejected
    assert all(list(trial.values) == ["size_bytes"] for trial in rejected)


def test_the_same_seed_gives_the_same_plans_and_bytes(folder: Path, out: Path) -> None:
    autocompress.search(teacher(), Classification(), budget=BUDGET, trials=14, out=out)
    assert files(out) == files(folder)


def test_an_interrupted_search_finds_what_an_uninterrupted_one_does(
    folder: Path, out: Path
) -> None:
    class Impatient(Classification):
        calls = 0

        def evaluate(
            self, model: nn.Module, split: autocompress.outcome.objectives.Split
        ) -> float:
            self.calls += 1
            if self.calls == 4:
                raise KeyboardInterrupt
            return super().evaluate(model, split)

    with pytest.raises(KeyboardInterrupt):
        autocompress.search(teacher(), Impatient(), budget=BUDGET, trials=14, out=out)
    assert 0 < len(SearchFolder(out).trials()) < 14
    with pytest.raises(SearchError, match="data is"):  # another task is another search
        autocompress.search(teacher(), Classification(), budget=BUDGET, trials=14, out=out)
    Impatient.calls = 10
    result = autocompress.search(teacher(), Impatient(), budget=BUDGET, trials=14, out=out)
    assert result.trials == 14
    assert sorted(files(out).values()) == sorted(files(folder).values())


@pytest.mark.slow
def test_more_trials_are_added_to_those_there(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    before = files(tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "mlartifacts")
    (tmp_path / "copy" / "mlflow.db").unlink()  # tracking is made anew where it was lost
    result = autocompress.search(
        teacher(), Classification(), budget=BUDGET, trials=16, out=tmp_path / "copy"
    )
    after = files(tmp_path / "copy")
    assert result.trials == 16
    assert {name: after[name] for name in before} == before


def test_with_a_limit_on_the_rise_the_smallest_file_is_the_best(out: Path) -> None:
    result = autocompress.search(teacher(), Classification(), max_rise="10%", trials=16, out=out)
    assert result.best is not None
    limit = 0.9 * result.baseline.values["accuracy"]
    assert all(member.values["accuracy"] >= limit for member in result.front)
    assert result.best.size_bytes == min(member.size_bytes for member in result.front)
    assert result.best.size_bytes < 0.2 * result.baseline.size_bytes
    above = [trial for trial in SearchFolder(out).trials() if not trial.feasible]
    assert any(trial.values.get("accuracy", 1) < limit for trial in above)


@pytest.mark.slow
def test_limits_combine(out: Path) -> None:
    few = Objective("few_bits", "maximize", few_bits, limit=0.1)
    result = autocompress.search(
        teacher(),
        Classification(),
        budget=14_000,
        max_rise=0.2,
        objectives=[few],
        trials=14,
        out=out,
    )
    assert result.best is not None
    for member in result.front:
        assert member.size_bytes <= 14_000
        assert member.values["accuracy"] >= 0.8 * result.baseline.values["accuracy"]
        assert member.values["few_bits"] >= 0.1
    assert result.limits == {"few_bits": 0.1}


def test_the_nearest_is_named_where_no_plan_keeps_all_limits(out: Path) -> None:
    result = autocompress.search(
        teacher(), Classification(), budget=6000, max_rise="0%", trials=6, out=out
    )
    assert result.best is None
    assert result.nearest is not None
    assert result.nearest.size_bytes <= 6000
    first, nearest, *further = summary_lines(result)
    assert first == "no plan found is under 6 kB and +0 %"
    assert nearest.startswith(f"the nearest, trial {result.nearest.trial}: accuracy -")
    assert str(result.nearest.artifact) in further[2]  # below an empty line and the titles
    page = (out / "front.html").read_text(encoding="utf-8")
    assert "The nearest plans" in page
    report = (out / "report.md").read_text(encoding="utf-8")
    assert "## The nearest plans" in report
    assert "front is empty" not in report
    assert result.counted.split(",")[0] in report


def test_after_the_timeout_no_trial_begins(out: Path) -> None:
    result = autocompress.search(teacher(), Classification(), timeout="0.001s", out=out)
    assert result.trials == 0
    with pytest.raises(BudgetError, match="a time is a number"):
        autocompress.search(teacher(), Classification(), timeout="soon", out=out)


@pytest.mark.slow
def test_two_jobs_make_every_trial_once(out: Path) -> None:
    one = Objective("one", "minimize", lambda measured: 1.0)
    found = autocompress.search(
        teacher(),
        Classification(),
        budget=BUDGET,
        objectives=[one],
        trials=14,
        jobs=2,
        out=out,
    )
    trials = SearchFolder(out).trials()
    assert found.trials == 14
    numbers = [trial.number for trial in trials]
    assert len(set(numbers)) == len(numbers) == 14 - found.without_file
    origins = [trial.origin for trial in trials if trial.origin != "sampler"]
    assert len(set(origins)) == len(origins) > 5


@pytest.mark.slow
def test_a_job_that_dies_ends_the_search_and_loses_nothing(out: Path) -> None:
    class Deadly(Classification):
        """Ends any process but the first."""

        def evaluate(
            self, model: nn.Module, split: autocompress.outcome.objectives.Split
        ) -> float:
            if multiprocessing.parent_process() is not None:
                os._exit(9)
            return super().evaluate(model, split)

    with pytest.raises(SearchError, match=r"the process of trial \d+ died \(exit code 9\)"):
        autocompress.search(teacher(), Deadly(), trials=6, jobs=2, out=out)
    assert autocompress.search(teacher(), Deadly(), trials=6, out=out).trials == 6


class Elsewhere:
    """Cannot be made anew in another process."""

    def __reduce__(self) -> tuple[type[int], tuple[str]]:
        return int, ("no number",)


@pytest.mark.slow
def test_what_another_process_cannot_load_is_told(out: Path) -> None:
    task = Classification()
    task.extra = Elsewhere()  # type: ignore[attr-defined]
    with pytest.raises(SearchError, match="another process cannot load the task: invalid literal"):
        autocompress.search(teacher(), task, trials=3, jobs=2, out=out)


def test_what_cannot_be_copied_to_other_processes_is_refused(out: Path) -> None:
    lock = threading.Lock()
    held = Objective("held", "minimize", lambda measured: float(lock.locked()))
    with pytest.raises(SearchError, match="use one job"):
        autocompress.search(
            teacher(), Classification(), objectives=[held], trials=3, jobs=2, out=out
        )


def test_nothing_feasible_names_the_smallest_file(out: Path) -> None:
    result = autocompress.search(teacher(), Classification(), budget="1.4kB", out=out)
    assert result.best is None
    assert result.trials == 0
    assert result.smallest_bytes is not None
    assert result.smallest_bytes > 1400


def test_that_nothing_is_worth_fine_tuning_is_told(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    never = Objective("never", "minimize", lambda _: 1.0, limit=0.0, phase="plan")
    result = autocompress.search(
        teacher(), Classification(), objectives=[never], trials=1, out=out, recovery="8steps"
    )
    assert (result.best, result.recovered) == (None, ())
    assert "nothing is fine-tuned" in capsys.readouterr().err


def test_three_failures_in_a_row_end_the_search(out: Path) -> None:
    def broken(measured: Measured) -> float:
        return float("nan") if "baseline" not in str(measured.path) else 1.0

    with pytest.raises(SearchError, match=r"3 trials in a row.*'fickle' must be a finite"):
        autocompress.search(
            teacher(),
            Classification(),
            objectives=[Objective("fickle", "minimize", broken)],
            out=out,
        )


@pytest.mark.parametrize("many", [4, 10])
def test_ten_trials_whose_workers_are_lost_in_a_row_end_the_search(
    many: int, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []

    def lost(bench: Bench, job: Job) -> Outcome:
        jobs.append(job)
        return LostWorkersError("lost") if len(jobs) <= many else outcome_of(bench, job)

    monkeypatch.setattr(this_process, "outcome_of", lost)
    if many == 10:
        with pytest.raises(SearchError, match="10 trials in a row failed: lost"):
            autocompress.search(teacher(), Classification(), trials=12, out=out)
        return
    autocompress.search(teacher(), Classification(), trials=6, out=out)
    assert {path.parent.name for path in out.glob("trials/*/model.acz")} == {
        "baseline",
        "0004",
        "0005",
    }


def test_a_single_failure_does_not_end_the_search(out: Path) -> None:
    def fickle(measured: Measured) -> float:
        return float("nan") if measured.path.parent.name == "0001" else 1.0

    result = autocompress.search(
        teacher(),
        Classification(),
        objectives=[Objective("fickle", "minimize", fickle)],
        trials=4,
        out=out,
    )
    assert (result.trials, result.without_file) == (4, 1)


def test_another_search_in_the_folder_is_refused(folder: Path) -> None:
    with pytest.raises(SearchError, match="budget_bytes is 12000 there and 8000 here"):
        autocompress.search(teacher(), Classification(), budget=8000, out=folder)


def test_a_search_that_has_lost_its_study_goes_on(folder: Path, tmp_path: Path) -> None:
    whole, lost = (shutil.copytree(folder, tmp_path / name) for name in ("whole", "lost"))
    (lost / "optuna.journal").unlink()
    before = [trial.to_json() for trial in SearchFolder(folder).trials()]
    for out in (whole, lost):
        autocompress.search(teacher(), Classification(), budget=BUDGET, trials=17, out=out)
    assert files(lost) == files(whole)
    assert [trial.to_json() for trial in SearchFolder(lost).trials()][: len(before)] == before


def test_trials_are_kept_though_nothing_knows_how_they_were_asked_for(
    folder: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(folder, tmp_path / "copy")
    for name in ("optuna.journal", "study.jsonl"):
        (out / name).unlink()
    before = [trial.to_json() for trial in SearchFolder(folder).trials()]
    result = autocompress.search(
        teacher(), Classification(), budget=BUDGET, trials=len(before) + 1, out=out
    )
    assert result.trials == len(before) + 1
    assert [trial.to_json() for trial in SearchFolder(out).trials()][: len(before)] == before


def test_a_folder_in_use_is_refused(folder: Path) -> None:
    with (
        SearchFolder(folder).claimed(),
        pytest.raises(SearchError, match="another process is searching"),
    ):
        autocompress.search(teacher(), Classification(), budget=BUDGET, out=folder)


def test_an_objective_with_a_name_of_the_tools_is_refused_before_any_work(tmp_path: Path) -> None:
    for name in ("label", "trial", "size_bytes", "accuracy", "test_accuracy"):
        mine = Objective(name, "minimize", lambda measured: 1.0)
        with pytest.raises(ObjectiveError, match=f"'{name}' is taken"):
            autocompress.search(teacher(), Classification(), objectives=[mine], out=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_bad_arguments_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="tiny"):
        autocompress.search(teacher(), Classification(), budget="tiny", out=tmp_path / "a")
    with pytest.raises(SearchError, match="trials >= 1"):
        autocompress.search(teacher(), Classification(), trials=0, out=tmp_path / "a")
    with pytest.raises(ObjectiveError, match="direction"):
        Objective("speed", "up", lambda measured: 0.0)  # type: ignore[arg-type]
    broken = teacher()
    broken.head.weight.data[0, 0] = float("nan")
    with pytest.raises(ModelError, match=r"'head\.weight' holds 1 NaN"):
        autocompress.search(broken, Classification(), out=tmp_path / "a")
    assert not (tmp_path / "a").exists()
