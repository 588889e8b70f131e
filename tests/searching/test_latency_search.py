"""Searches in which the time of a word counts."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from toys import Classification, teacher, toy_corpus, toy_model

import autocompress
from autocompress.artifact import open_artifact
from autocompress.engines.base import Latency
from autocompress.engines.onnx.engine import OnnxEngine
from autocompress.engines.onnx.session import open_session
from autocompress.errors import ExportError, SearchError
from autocompress.lm import LanguageModel, LanguageModeling, load_model, read_corpus
from autocompress.lm.onnx.modules import StepModel
from autocompress.outcome.limits import Limit
from autocompress.outcome.origin import SAMPLER
from autocompress.outcome.results import SearchResult
from autocompress.recovery import RecoveryBudget, RecoverySettings
from autocompress.searching.conducting import conduct
from autocompress.searching.effort import Effort
from autocompress.searching.folder import SearchFolder
from autocompress.searching.request import Request
from autocompress.searching.space.language import load_space

Subject = tuple[LanguageModel, LanguageModeling]


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = tmp_path_factory.mktemp("latency")
    corpus = toy_corpus(folder / "toy")
    model, vocabulary = load_model(toy_model(folder / "model", corpus))
    return model, LanguageModeling(read_corpus(corpus, vocabulary))


@pytest.fixture(autouse=True)
def no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let latency be what the constants of a model weigh, which is the same each time."""

    def weigh(self: OnnxEngine, model: StepModel) -> Latency:
        inputs = len(model.session._model_bytes)
        return Latency(inputs / 1e5, inputs / 1e5, inputs / 3e4, 0.0, 15)

    monkeypatch.setattr(OnnxEngine, "latency", weigh)


def searched(subject: Subject, out: Path, trials: int = 7, **options: Any) -> SearchResult:
    model, task = subject
    found: SearchResult = autocompress.search(
        model, task, space="latency", trials=trials, out=out, **options
    )
    return found


def test_latency_is_an_objective_of_the_exported_model(subject: Subject, out: Path) -> None:
    found = searched(subject, out)
    assert list(found.directions) == ["size_bytes", "perplexity", "latency"]
    assert found.best is not None
    assert len({one.values["latency"] for one in SearchFolder(out).trials()}) > 2
    for one in (found.baseline, found.best):
        assert one.onnx is not None
        exported = StepModel(open_session(one.onnx.read_bytes()))
        assert one.values["perplexity"] == subject[1].evaluate(exported, "valid")
        assert one.test == subject[1].evaluate(exported, "test")
    in_torch = subject[1].evaluate(autocompress.load(found.best.artifact), "valid")
    runtimes = {one.runtime for one in open_artifact(found.best.artifact).plan.treatments.values()}
    assert runtimes == {"float32"} or in_torch != found.best.values["perplexity"]
    (logged,) = (out / "mlartifacts").rglob("model.onnx")  # that of the best plan
    assert found.best.onnx is not None
    assert logged.read_bytes() == found.best.onnx.read_bytes()
    document = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert SearchResult.from_json(document) == found
    assert document["best"]["onnx"] == str(found.best.onnx)


@pytest.mark.slow
def test_a_limit_on_the_latency_is_kept_and_a_search_goes_on(
    subject: Subject, tmp_path: Path
) -> None:
    baseline = searched(subject, tmp_path / "free").baseline.values["latency"]
    limit = f"{0.6 * baseline:.4f}x"
    found = searched(subject, tmp_path / "limited", 5, latency_budget=limit)
    assert found.front
    assert all(one.values["latency"] <= 0.6 * baseline for one in found.front)
    again = searched(subject, tmp_path / "limited", 7, latency_budget=limit)
    assert again.trials == 7
    with pytest.raises(SearchError, match=r"latency_budget is .*x' there and '9x' here"):
        searched(subject, tmp_path / "limited", latency_budget="9x")


def test_slow_plans_are_not_scored(subject: Subject, out: Path) -> None:
    found = searched(subject, out, 4, latency_budget="0.0001x", max_rise="1%")
    assert found.best is None
    assert found.front == ()
    assert found.trials == 4


def test_milliseconds_are_shares_of_what_the_uncompressed_model_takes(
    subject: Subject, out: Path
) -> None:
    found = searched(subject, out, 1, latency_budget="0.1ms")
    limit = 0.1 / found.baseline.values["latency_ms"]
    assert found.limits == {"latency": pytest.approx(limit)}


def test_jobs_side_by_side_would_disturb_each_other(subject: Subject, out: Path) -> None:
    with pytest.raises(SearchError, match="use one job"):
        searched(subject, out, jobs=2)


def test_other_models_have_no_latency(out: Path) -> None:
    with pytest.raises(
        ExportError, match=r"of the architectures .*recurrent_lm.* can be exported"
    ):
        autocompress.search(teacher(), Classification(), latency_budget="0.5x", trials=1, out=out)


def test_a_shortened_effort_has_a_share_of_the_time() -> None:
    now = time.perf_counter()
    shortened = Effort(5, now + 1000, 1).shortened(0.3)
    assert shortened.deadline == pytest.approx(now + 300, abs=5)
    assert shortened.allows(4)
    assert not shortened.allows(5)


def falling_back(subject: Subject, out: Path, latency: float, trials: int) -> SearchResult:
    """Search under a limit that no plan keeps, and fine-tune the nearest for a second."""
    request = Request(
        name="toy",
        space=load_space("latency"),
        effort=Effort(trials, time.perf_counter() + 600),
        max_rise=0.5,
        latency=Limit(latency, unit="x"),
        objectives=(autocompress.Objective("never", "minimize", lambda _: 1.0, limit=0.0),),
        fallback=RecoverySettings(RecoveryBudget(seconds=1)),
    )
    return conduct(*subject, request, SearchFolder(out))


@pytest.mark.slow
def test_the_nearest_plan_is_fine_tuned_where_no_opening_is_good_enough(
    subject: Subject, out: Path
) -> None:
    found = falling_back(subject, out, 9.0, 500)
    assert found.best is None
    origins = {one.origin for one in SearchFolder(out).trials()}
    assert len(origins) == found.trials > 2
    assert SAMPLER not in origins
    assert len(found.recovered) == len(found.controls) == 1
    assert found.recovered[0].onnx is not None
    assert found.recovered[0].onnx.exists()
    measured = [one for one in SearchFolder(out).trials() if one.losses]
    parts = min(len(one.losses) for one in measured)
    nearest = min(measured, key=lambda one: sum(one.losses[:parts]))
    assert found.recovered[0].trial == nearest.number
    # An interrupted fine-tuning goes on with the same plan, without further trials.
    (record,) = out.glob("recovered/recovered-*/trial.json")
    record.unlink()
    again = falling_back(subject, out, 9.0, 500)
    assert again.trials == found.trials
    assert [one.trial for one in again.recovered] == [nearest.number]
    assert record.exists()


@pytest.mark.slow
def test_what_is_fine_tuned_leaves_room_for_noise(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prefer_heavy(self: OnnxEngine, model: StepModel) -> Latency:
        ratio = 3e4 / len(model.session._model_bytes)
        return Latency(ratio, ratio, ratio, 0.0, 15)

    monkeypatch.setattr(OnnxEngine, "latency", prefer_heavy)  # then the best plan is slow
    searched(subject, tmp_path / "free", 4)
    free = SearchFolder(tmp_path / "free").trials()
    nearest = min(free, key=lambda one: one.values["perplexity"])
    limit = 1.02 * nearest.values["latency"]
    found = falling_back(subject, tmp_path / "limited", limit, 12)
    (tuned,) = found.recovered
    measured = {one.number: one for one in SearchFolder(tmp_path / "limited").trials()}
    assert tuned.trial is not None
    assert measured[tuned.trial].values["latency"] <= 0.9 * limit
    least = min(measured.values(), key=lambda one: sum(one.losses[:8]) if one.losses else 1e9)
    assert least.origin == nearest.origin
    assert least.values["latency"] > 0.9 * limit
