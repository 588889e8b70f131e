"""What MLflow knows of a search, also after its process was killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from platforms import needs_posix
from strategies import write_mixed

from autocompress.artifact import Artifact, open_artifact
from autocompress.errors import SearchError
from autocompress.outcome.about import About, DataDescription
from autocompress.outcome.results import Scored, SearchResult, TrialResult, WithoutFile
from autocompress.outcome.training import TrainingLog
from autocompress.plan import CompressionPlan
from autocompress.tracking import Tracker, Yardstick
from autocompress.tracking.figures import plan_params

# Raised while MLflow's database models are imported, with SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

PLAN = CompressionPlan.from_json(
    {
        "treatments": {
            "lstm.weight_hh_l0": {
                "structure": {"kind": "low_rank", "rank": 24},
                "precision": {"kind": "uniform", "bits": 4, "group": "row"},
            },
            "embedding.weight": {
                "structure": {"kind": "dense"},
                "precision": {"kind": "entropy", "step": 0.012345678},
            },
        }
    }
)
STARTED = 1_760_000_000.0
BASELINE = {"size_bytes": 9000.0, "ppl": 80.0}

YARDSTICK = Yardstick(
    "ppl", {"size_bytes": "minimize", "ppl": "minimize"}, BASELINE, n_weights=500, goal="ppl"
)


def trial(number: int, feasible: bool = True) -> TrialResult:
    values = {"size_bytes": 1000.0 + number} | ({"ppl": 90.0 - number} if feasible else {})
    return TrialResult(number, PLAN, values, feasible, STARTED + number, 2.5, 4.0)


def search(front: Sequence[int], trials: int = 3) -> SearchResult:
    def scored(number: int) -> Scored:
        values = trial(number).values
        return Scored(number, Path("trial.acz"), values, values["ppl"] - 3, "label")

    baseline = Scored(None, write_mixed(Path("b.acz")), BASELINE, 77.0, "float32")
    members = tuple(scored(number) for number in front)
    return SearchResult(
        name="small",
        metric="ppl",
        directions={"size_bytes": "minimize", "ppl": "minimize"},
        budget_bytes=2000,
        baseline=baseline,
        best=members[-1] if members else None,
        front=members,
        trials=trials,
        smallest_bytes=1000,
        seconds=12.0,
    )


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """A file of a trial, where `search` says that all trials have theirs."""
    return write_mixed(tmp_path / "trial.acz")


@pytest.fixture(autouse=True)
def in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def runs(out: Path) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{out / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("autocompress")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], order_by=["start_time ASC"]))


def parent(out: Path) -> Any:
    (run,) = (run for run in runs(out) if "mlflow.parentRunId" not in run.data.tags)
    return run


def children(out: Path, status: str = "FINISHED") -> dict[int, Any]:
    found = [run for run in runs(out) if "autocompress.trial" in run.data.tags]
    found = [run for run in found if run.info.status == status]
    numbers = [int(run.data.tags["autocompress.trial"]) for run in found]
    assert len(set(numbers)) == len(numbers), "a trial has several runs"
    return dict(zip(numbers, found, strict=True))


def files(run: Any) -> dict[str, bytes]:
    root = Path(unquote(run.info.artifact_uri.removeprefix("file://")))
    return {path.name: path.read_bytes() for path in root.iterdir()}


def test_trial_is_logged_whole(out: Path, artifact: Path) -> None:
    tracker = Tracker(out, "small", {"budget": "2 kB"})
    tracker.log_trial(trial(7), artifact)
    run = children(out)[7]
    assert run.info.run_name == "trial-0007"
    assert run.info.start_time == int(1000 * (STARTED + 7))
    assert run.info.end_time == int(1000 * (STARTED + 7 + 2.5))
    assert run.data.metrics == {
        "size_bytes": 1007.0,
        "ppl": 83.0,
        "seconds": 2.5,
        "cpu_seconds": 4.0,
    }
    assert run.data.params["lstm.weight_hh_l0.rank"] == "24"
    assert run.data.tags["mlflow.parentRunId"] == parent(out).info.run_id
    assert (run.data.tags["feasible"], run.data.tags["front"]) == ("true", "false")
    stored = files(run)
    assert stored["trial.acz"] == artifact.read_bytes()
    assert CompressionPlan.from_json(json.loads(stored["plan.json"])) == PLAN
    assert (out / "mlartifacts").is_dir()


def test_plan_becomes_flat_params_with_legal_names() -> None:
    document = PLAN.to_json()
    treatments = document["treatments"]
    treatments["site(h)+x"] = treatments.pop("lstm.weight_hh_l0")
    codebook = {"kind": "vector_quantized", "bits": 3, "dimension": 2}
    treatments["w"] = {
        "structure": codebook,
        "precision": {"kind": "uniform", "bits": 4, "group": "row"},
    }
    slope = {"kind": "equal_slope", "slope": 2.5e-11}
    treatments["v"] = {"structure": {"kind": "dense"}, "precision": slope}
    params = plan_params(CompressionPlan.from_json(document))
    assert params["site_h__x.structure"] == "low_rank"
    assert params["site_h__x.rank"] == "24"
    assert params["w.bits"] == "3"
    assert params["w.precision.bits"] == "4"
    assert params["embedding.weight.precision"] == "entropy"
    assert params["embedding.weight.step"] == "0.0123457"
    assert params["v.log10_slope"] == "-10.60"
    assert "v.slope" not in params


def test_plans_of_many_weights_exceed_no_limit(out: Path, artifact: Path) -> None:
    treatment = PLAN.to_json()["treatments"]["lstm.weight_hh_l0"]
    plan = CompressionPlan.from_json({"treatments": {f"w{i}": treatment for i in range(70)}})
    Tracker(out, "small", {}).log_trial(replace(trial(0), plan=plan), artifact)
    per_weight = sum(name.startswith("w13.") for name in children(out)[0].data.params)
    assert per_weight == 6
    assert "w69.rank" in children(out)[0].data.params


def test_same_folder_continues_the_same_search(out: Path, artifact: Path) -> None:
    first = Tracker(out, "small", {"budget": "2 kB", "trials": "10"})
    first.log_trial(trial(0), artifact)
    first.end("FINISHED")
    assert parent(out).info.status == "FINISHED"
    second = Tracker(out, "small", {"budget": "2 kB", "trials": "20", "seed": "1"})
    assert parent(out).info.status == "RUNNING"
    second.log_trial(trial(1), artifact)
    second.end("KILLED")
    run = parent(out)
    assert run.info.status == "KILLED"
    assert run.info.run_name == "small"
    assert run.data.params == {"budget": "2 kB", "trials": "10", "seed": "1"}
    assert run.data.tags["continued.trials"] == "20"
    assert set(children(out)) == {0, 1}


KILLED_CHILD = """
import sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[1], str(Path(sys.argv[1]).parent)]
from test_tracker import Tracker, trial

out, artifact, signal = map(Path, sys.argv[2:])
tracker = Tracker(out, "small", {})
tracker.log_trial(trial(0), artifact)
tracker._start_trial(trial(1))
signal.touch()
time.sleep(600)
"""


@needs_posix
def test_search_goes_on_after_kill_9(out: Path, artifact: Path, tmp_path: Path) -> None:
    signal_file = tmp_path / "between creating and finishing"
    words = [str(Path(__file__).parent), str(out), str(artifact), str(signal_file)]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED_CHILD, *words], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not signal_file.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert signal_file.exists(), errors
    assert errors == ""  # MLflow has nothing to say on the terminal
    assert set(children(out, "RUNNING")) == {1}

    tracker = Tracker(out, "small", {})
    results = [trial(0), trial(1), trial(2, feasible=False)]
    tracker.reconcile(results, lambda number: artifact)
    kept = children(out)
    assert set(kept) == {0, 1, 2}
    assert kept[2].data.tags["feasible"] == "false"
    assert set(children(out, "KILLED")) == {1}
    assert children(out, "RUNNING") == {}
    tracker.reconcile(results, lambda number: artifact)
    assert children(out).keys() == kept.keys()
    assert {run.info.run_id for run in children(out).values()} == {
        run.info.run_id for run in kept.values()
    }


def test_runs_of_trials_that_never_finished_do_not_count(out: Path, artifact: Path) -> None:
    tracker = Tracker(out, "small", {})
    for result in (trial(0), trial(0), trial(1)):
        tracker.log_trial(result, artifact)
    tracker.reconcile([trial(0)], lambda number: artifact)
    assert set(children(out)) == {0}
    assert set(children(out, "KILLED")) == {0, 1}


def test_front_is_marked_and_marks_are_taken_back(out: Path, artifact: Path) -> None:
    tracker = Tracker(out, "small", {})
    for number in range(3):
        tracker.log_trial(trial(number), artifact)
    tracker.log_front(search([0, 1]), [])
    tracker.log_front(search([1, 2]), [artifact])
    found = children(out)
    assert {n: run.data.tags["front"] for n, run in found.items()} == {
        0: "false",
        1: "true",
        2: "true",
    }
    assert {n for n, run in found.items() if run.data.tags.get("best") == "true"} == {2}
    assert found[2].data.metrics["test_ppl"] == 85.0
    assert set(files(parent(out))) == {"trial.acz"}
    assert parent(out).data.metrics == {
        "trials": 3.0,
        "seconds": 12.0,
        "baseline_size_bytes": 9000.0,
        "baseline_ppl": 80.0,
        "baseline_test_ppl": 77.0,
        "best_size_bytes": 1002.0,
        "best_ppl": 88.0,
        "best_test_ppl": 85.0,
        "best_rise": pytest.approx(0.1),
    }


def test_figures_of_now_are_shown_also_where_the_clock_was_set_back(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = Tracker(out, "small", {})
    tracker.log_front(search([], trials=40), [])
    monkeypatch.setattr("time.time", lambda: STARTED)
    tracker.log_front(search([], trials=12), [])
    assert parent(out).data.metrics["trials"] == 12


def test_the_saved_view_shows_all_trials_the_best_first(out: Path, artifact: Path) -> None:
    tracker = Tracker(out, "small", {}, YARDSTICK)
    tracker.reconcile([trial(0)], lambda number: artifact, {3: WithoutFile("too large")})
    for number in (1, 2):
        tracker.log_trial(trial(number, feasible=number == 1), artifact)
    found = search([0, 1])
    tracker.log_front(found, [])
    tracker.conclude(found, About())
    state = saved_view(out)
    order = f"{state['orderByKey']} {'ASC' if state['orderByAsc'] else 'DESC'}"
    rows = client(out).search_runs(["1"], state["searchFilter"], order_by=[order])
    assert [(row.info.run_name, row.data.tags["standing"]) for row in rows] == [
        ("trial-0001", "1 best"),
        ("trial-0000", "2 front 01"),
        ("uncompressed", "3 uncompressed"),
        ("trial-0002", "5 misses a limit"),
        ("trial-0003", "6 given up"),
    ]
    shown = {name.partition(".")[2].strip("`") for name in state["selectedColumns"]}
    assert shown >= {"standing", "size_MB", "times_smaller", "rise_percent", "ppl", "rejected"}
    kinds = [chart["type"] for chart in state["compareRunCharts"]]
    assert {"SCATTER", "PARALLEL"} <= set(kinds)
    sections = {section["uuid"] for section in state["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == sections


def client(out: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{out / 'mlflow.db'}")


def saved_view(out: Path) -> dict[str, Any]:
    """What the UI shows for the link to the trials."""
    experiment = client(out).get_experiment_by_name("autocompress")
    assert experiment is not None
    envelope = json.loads(experiment.tags["mlflow.sharedViewState.autocompress"])
    state: dict[str, Any] = json.loads(envelope["state"])
    return state


def test_figures_that_people_compare(out: Path, artifact: Path) -> None:
    tracker = Tracker(out, "small", {}, YARDSTICK)
    tracker.reconcile([], lambda number: artifact)
    for number, feasible in enumerate((True, False, True)):
        tracker.log_trial(replace(trial(number), feasible=feasible), artifact)
    metrics = children(out)[2].data.metrics
    assert metrics["size_MB"] == 0.001
    assert metrics["times_smaller"] == pytest.approx(9000 / 1002, abs=0.01)
    assert metrics["rise_percent"] == pytest.approx(10)
    assert metrics["bits_per_weight"] == pytest.approx(8 * 1002 / 500, abs=0.001)
    assert metrics["best_so_far_ppl"] == 88
    history = client(out).get_metric_history(parent(out).info.run_id, "best_so_far_ppl")
    assert [(point.step, point.value) for point in history] == [(0, 90), (1, 90), (2, 88)]
    (uncompressed,) = (run for run in runs(out) if run.info.run_name == "uncompressed")
    assert uncompressed.data.metrics["times_smaller"] == 1
    assert uncompressed.data.metrics["rise_percent"] == 0
    bits = {name for name in children(out)[0].data.params if name.endswith(".bits_per_weight")}
    assert bits


def test_what_was_given_up_has_failed_with_its_reason(out: Path, artifact: Path) -> None:
    tracker = Tracker(out, "small", {})
    tracker.log_trial(replace(trial(0), rejected="worse than trial 7"), artifact)
    tracker.log_given_up(1, WithoutFile("far too large"))
    given_up = {
        1: WithoutFile("far too large"),
        2: WithoutFile("failed: an error", "opening", PLAN),
    }
    for _ in range(2):
        tracker.reconcile([replace(trial(0), rejected="worse")], lambda _: artifact, given_up)
        failed = children(out, "FAILED")
        assert {number: run.data.tags["rejected"] for number, run in failed.items()} == {
            0: "worse than trial 7",
            1: "far too large",
            2: "failed: an error",
        }
    assert children(out) == {}
    assert failed[2].data.tags["origin"] == "opening"
    assert failed[2].data.params == plan_params(PLAN)
    assert not failed[1].data.params
    (plan,) = out.glob(f"mlartifacts/{failed[2].info.run_id}/artifacts/plan.json")
    assert CompressionPlan.from_json(json.loads(plan.read_text(encoding="utf-8"))) == PLAN


@pytest.mark.parametrize("front", [[0, 1], []])
def test_the_description_begins_with_the_answer(
    front: list[int], out: Path, artifact: Path
) -> None:
    tracker = Tracker(out, "small", {}, YARDSTICK)
    tracker.reconcile([trial(0), trial(1)], lambda number: artifact)
    found = search(front)
    tracker.log_front(found, [])
    data = DataDescription("corpus", "abc", {"words": 3})
    tracker.conclude(found, About(data=data, unserved="nothing makes it"))
    note = parent(out).data.tags["mlflow.note.content"]
    first = note.splitlines()[0]
    if front:
        assert first.startswith("**1.001 kB, 9.0 times smaller, ppl 89 (+11.25 %)**: ")
        assert f"runs/{children(out)[1].info.run_id}" in first
        assert note.endswith("No model is registered: nothing makes it.")
    else:
        assert first == "**No plan keeps the limits** among 3 trials."
    (used,) = parent(out).inputs.dataset_inputs
    assert used.dataset.name == "corpus"
    assert json.loads(used.dataset.profile) == {"words": 3}


def test_a_report_names_the_pictures_beside_it(out: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    report.write_text("![the curve](curve.png) and ![another](http://elsewhere/a.png)")
    Tracker(out, "small", {}).log_front(search([]), [report])
    shown = files(parent(out))["report.md"].decode()
    named = "*the curve: `curve.png`, among these files*"
    assert shown == f"{named} and ![another](http://elsewhere/a.png)"


def test_nothing_feasible_is_no_error(out: Path) -> None:
    Tracker(out, "small", {}).log_front(search([], trials=0), [])
    assert "best_ppl" not in parent(out).data.metrics


def test_failures_are_one_line(out: Path, tmp_path: Path) -> None:
    tracker = Tracker(out, "small", {})
    with pytest.raises(SearchError, match=r"^MLflow could not log trial 3: [^\n]*absent") as info:
        tracker.log_trial(trial(3), tmp_path / "absent.acz")
    assert "\n" not in str(info.value)


def test_what_was_fine_tuned_shows_its_plan(out: Path, tmp_path: Path) -> None:
    tracker = Tracker(out, "small", {})
    tuned = replace(search([0]).front[0], artifact=write_mixed(tmp_path / "model.acz"))
    log = TrainingLog(1000, 1040, 30, ((5, 4.5), (10, 4.0)), ((10, {"ppl": 88.0}),))
    tracker.log_recovered(replace(search([0]), recovered=(tuned,)), tuned, log)
    (run,) = (run for run in runs(out) if "mlflow.parentRunId" in run.data.tags)
    plan = open_artifact(tuned.artifact).plan.to_json()
    assert json.loads(files(run)["plan.json"]) == plan
    assert run.data.params.items() >= plan_params(open_artifact(tuned.artifact).plan).items()
    assert run.data.metrics["seconds"] == 30
    assert (run.info.start_time, run.info.end_time) == (1000 * 1000, 1040 * 1000)
    losses = client(out).get_metric_history(run.info.run_id, "training_loss")
    assert [(point.step, point.value) for point in losses] == [(5, 4.5), (10, 4.0)]


def test_every_model_has_a_picture_that_is_drawn_once(out: Path, artifact: Path) -> None:
    drawn: list[tuple[str, Mapping[str, float]]] = []

    def draw(title: str, artifact: Artifact, rises: Mapping[str, float], path: Path) -> None:
        drawn.append((title, rises))
        path.write_bytes(f"{artifact.size_bytes}".encode())

    result = replace(trial(3), rises={"embedding.weight": 0.5})
    tracker = Tracker(out, "small", {}, YARDSTICK, draw)
    tracker.log_trial(result, artifact)
    artifact_tuned = write_mixed(out / "recovered" / "model.acz")
    tuned = replace(search([3]).front[0], artifact=artifact_tuned, track="tuned")
    found = replace(search([3]), tuned=(tuned,))
    for _ in range(2):
        tracker.reconcile([result], lambda number: artifact)
        tracker.log_recovered(found, tuned)
    assert [(title.split(":")[0], rises) for title, rises in drawn] == [
        ("trial 3", {"embedding.weight": 0.5}),
        ("trial 3, tuned without labels", {}),
    ]
    pictures = [path.read_bytes() for path in out.glob("mlartifacts/*/artifacts/weights.png")]
    assert pictures == 2 * [f"{artifact.stat().st_size}".encode()]
    next(out.glob("mlartifacts/*/artifacts/weights.png")).unlink()
    tracker.reconcile([result], lambda number: artifact)
    tracker.log_recovered(found, tuned)
    assert len(drawn) == 3


def test_what_was_fine_tuned_is_marked_while_it_is_the_best(out: Path, tmp_path: Path) -> None:
    tracker, artifact = Tracker(out, "small", {}), write_mixed(tmp_path / "model.acz")
    write_mixed(tmp_path / "trial.acz")
    tracker.log_trial(trial(0), artifact)
    found = search([0], trials=1)
    tuned = replace(found.front[0], artifact=artifact, track="recovered")

    def marked(result: SearchResult) -> tuple[str, str]:
        tracker.log_front(result, [])
        tracker.log_recovered(result, tuned)
        best = {"trial": "", "tuned": ""}
        for run in runs(out):
            if "autocompress.trial" in run.data.tags:
                best["trial"] = run.data.tags.get("best", "false")
            elif "mlflow.parentRunId" in run.data.tags:
                best["tuned"] = run.data.tags.get("best", "false")
        return best["trial"], best["tuned"]

    assert marked(replace(found, best=tuned, recovered=(tuned,))) == ("false", "true")
    assert marked(replace(found, recovered=(tuned,))) == ("true", "false")
