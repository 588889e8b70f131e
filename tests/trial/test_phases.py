"""Trials go phase by phase, from what costs little to what costs much, whatever the engine."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from torch import nn
from toys import Classification, teacher

from autocompress import Measured, Objective
from autocompress.artifact import Artifact, opened
from autocompress.encoding.encoder import Encoder
from autocompress.engines.base import Engine, Latency
from autocompress.engines.torch import TorchEngine
from autocompress.errors import ObjectiveError
from autocompress.knowledge.sensitivity import with_sensitivities
from autocompress.knowledge.source import Source
from autocompress.outcome.limits import Budget, Limit
from autocompress.outcome.objectives import Phase, Split
from autocompress.outcome.results import TrialResult
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import EntropyStep
from autocompress.structures import Dense
from autocompress.trial.evaluator import Evaluator
from autocompress.trial.looks import GivenUp
from autocompress.trial.measuring import engine_of, objectives_of


class Watched(Classification):
    """Counts evaluations."""

    def __init__(self) -> None:
        super().__init__()
        self.evaluations = 0

    def evaluate(self, model: nn.Module, split: Split) -> float:
        self.evaluations += 1
        return super().evaluate(model, split)


class Sluggish(Engine):
    """Runs models in torch, and says that they take half as long as the uncompressed one."""

    name: ClassVar[str] = "sluggish"
    since: ClassVar[str] = "0.1.0"
    measures_latency: ClassVar[bool] = True

    def __init__(self, model: nn.Module, uncompressed: Artifact) -> None:
        self._torch = TorchEngine(model, uncompressed)

    def load(self, artifact: Artifact) -> nn.Module:
        return self._torch.load(artifact)

    def latency(self, loaded: nn.Module) -> Latency:
        return Latency(p50_ms=2.0, p95_ms=3.0, ratio=0.5, noise=0.001, rounds=15)


@pytest.fixture(scope="module")
def source() -> Source:
    return Source.of(teacher(), Classification())


def evaluator_of(source: Source, *own: Objective, limits: dict[str, Limit]) -> Evaluator:
    encoder, task = Encoder(source), Watched()
    engine = Sluggish(teacher(), None)  # type: ignore[arg-type]
    objectives = objectives_of(task, own, latency=True)
    return Evaluator(encoder, engine, task, objectives, limits)


def plan_of(source: Source, step: float = 0.3) -> CompressionPlan:
    treatment = Treatment(structure=Dense(), precision=EntropyStep(step=step))
    return CompressionPlan(treatments=dict.fromkeys(source.weights.weights, treatment))


def of_phase(phase: Phase, function: Callable[[Measured], float] = lambda _: 7.0) -> Objective:
    return Objective("own", "minimize", function, phase=phase, unit="kg")


def evaluations(evaluator: Evaluator) -> int:
    assert isinstance(evaluator.task, Watched)
    return evaluator.task.evaluations


def test_all_is_measured_where_nothing_is_limited(source: Source, tmp_path: Path) -> None:
    evaluator = evaluator_of(source, of_phase("plan"), limits={})
    result = evaluator.attempt(3, plan_of(source), tmp_path / "model.acz")
    assert isinstance(result, TrialResult)
    assert result.feasible
    assert result.values.keys() == {
        *("size_bytes", "accuracy", "own"),
        *("latency", "latency_ms", "latency_p95_ms", "latency_noise"),
    }
    assert evaluator.directions == {
        "size_bytes": "minimize",
        "accuracy": "maximize",
        "latency": "minimize",
        "own": "minimize",
    }


def test_a_plan_that_misses_a_limit_is_not_encoded(source: Source, tmp_path: Path) -> None:
    evaluator = evaluator_of(source, of_phase("plan"), limits={"own": Limit(5.0)})
    found = evaluator.attempt(3, plan_of(source), tmp_path / "model.acz")
    assert found == GivenUp(3, "own above 5kg", {"own": 0.4})
    assert not (tmp_path / "model.acz").exists()


@pytest.mark.parametrize(("phase", "is_timed"), [("file", False), ("engine", True)])
def test_a_file_that_misses_a_limit_is_not_scored(
    phase: Phase, is_timed: bool, source: Source, tmp_path: Path
) -> None:
    evaluator = evaluator_of(source, of_phase(phase), limits={"own": Limit(5.0)})
    result = evaluator.run(3, plan_of(source), tmp_path / "model.acz")
    assert (result.rejected, result.feasible) == ("own above 5kg", False)
    assert result.values["own"] == 7.0
    assert ("latency" in result.values) is is_timed
    assert evaluations(evaluator) == 0


def test_a_score_that_misses_a_limit_is_kept(source: Source, tmp_path: Path) -> None:
    evaluator = evaluator_of(source, of_phase("model"), limits={"own": Limit(5.0)})
    result = evaluator.run(3, plan_of(source), tmp_path / "model.acz")
    assert (result.rejected, result.feasible) == (None, False)
    assert evaluations(evaluator) == 1


def test_size_and_latency_go_the_same_way(source: Source, tmp_path: Path) -> None:
    small = evaluator_of(source, limits={"size_bytes": Budget(1000).limit})
    assert small.run(0, plan_of(source), tmp_path / "a.acz").rejected == "above 1 kB"
    fast = evaluator_of(source, limits={"latency": Limit(0.4, unit="x")})
    slow = fast.run(0, plan_of(source), tmp_path / "a.acz")
    assert slow.rejected == "latency above 0.4x"
    assert evaluations(small) == evaluations(fast) == 0


def test_whoever_wants_all_numbers_gets_them(source: Source, tmp_path: Path) -> None:
    limits = {"latency": Limit(0.4, unit="x")}
    evaluator = replace(evaluator_of(source, limits=limits), ending=("file",))
    result = evaluator.run(0, plan_of(source), tmp_path / "a.acz")
    assert (result.rejected, result.feasible) == (None, False)
    assert "accuracy" in result.values


def test_times_are_there_for_a_users_own(source: Source, tmp_path: Path) -> None:
    words = of_phase("engine", lambda measured: 1000 / measured.values["latency_ms"])
    evaluator = evaluator_of(source, words, limits={})
    assert evaluator.run(0, plan_of(source), tmp_path / "a.acz").values["own"] == 500


def test_what_is_not_there_yet_is_named(source: Source, tmp_path: Path) -> None:
    early = of_phase("plan", lambda measured: measured.artifact.size_bytes)
    evaluator = evaluator_of(source, early, limits={})
    with pytest.raises(ObjectiveError, match='declare it with `phase="file"` or later'):
        evaluator.attempt(0, plan_of(source), tmp_path / "a.acz")
    unloaded = of_phase("file", lambda measured: float(measured.model.training))
    evaluator = evaluator_of(source, unloaded, limits={})
    with pytest.raises(ObjectiveError, match='declare it with `phase="engine"` or later'):
        evaluator.run(0, plan_of(source), tmp_path / "a.acz")


def test_another_phase_is_refused() -> None:
    with pytest.raises(ObjectiveError, match=r"`phase` of objective 'own' must be .* got 'late'"):
        of_phase("late")  # type: ignore[arg-type]


def test_predictions_depend_on_the_file_alone(source: Source, tmp_path: Path) -> None:
    known = with_sensitivities(source, teacher(), Classification())
    encoder, task = Encoder(known), Watched()
    found = []
    for engine in (Sluggish(teacher(), None), engine_of("torch", teacher(), encoder)):  # type: ignore[arg-type]
        evaluator = Evaluator(encoder, engine, task, objectives_of(task))
        found.append(evaluator.run(0, plan_of(known), tmp_path / "a.acz").predicted)
    assert found[0] == found[1]
    assert found[0] is not None
    assert found[0] > 0


def test_a_trial_does_everything_once(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries are factorized and decoded once, though they are estimated and predicted too."""
    known = with_sensitivities(source, teacher(), Classification())
    evaluator = evaluator_of(known, limits={"size_bytes": Budget(10**6).limit})
    plan, done = plan_of(known), Counter[str]()

    def watch(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            done[name] += 1
            return original(*arguments, **named)

        monkeypatch.setattr(owner, name, counted)

    entries = len(plan.treatments)
    watch(Dense, "factorize")
    evaluator.attempt(0, plan, tmp_path / "a.acz")
    assert done == {"factorize": entries}
    watch(opened, "decode_factors")
    watch(Dense, "misfit")
    evaluator.attempt(1, plan, tmp_path / "b.acz")
    # A plan that is known to fit is not checked again; what is read from a file is.
    assert done == {"factorize": entries, "decode_factors": entries, "misfit": entries}
