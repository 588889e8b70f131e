"""Cheap looks before dear ones: what is given up, why, and what it costs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from toys import Classification, teacher

from autocompress.encoding import encoder as compression
from autocompress.encoding.encoder import uncompressed_plan
from autocompress.encoding.estimates import Estimator
from autocompress.outcome.limits import Budget, Limit
from autocompress.outcome.names import SIZE
from autocompress.outcome.objectives import Objective, Split
from autocompress.outcome.results import TrialResult
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import EntropyStep, Uniform
from autocompress.structures import Dense
from autocompress.trial.evaluator import Evaluator
from autocompress.trial.looks import GivenUp, Hurdle


class InParts(Classification):
    """Tells the losses of forty parts of the validation data; counts whole evaluations."""

    def __init__(self) -> None:
        super().__init__()
        self.evaluations = 0

    def evaluate(self, model: nn.Module, split: Split) -> float:
        self.evaluations += 1
        return super().evaluate(model, split)

    def part_losses(self, model: nn.Module, split: Split) -> Iterator[float]:
        assert split == "valid"
        for part in self.tokens[:200].view(40, 5, 8):
            with torch.no_grad():
                yield float(nn.functional.mse_loss(model(part), teacher()(part)))


def steps(evaluator: Evaluator, step: float) -> CompressionPlan:
    treatment = Treatment(structure=Dense(), precision=EntropyStep(step=step))
    return CompressionPlan(treatments=dict.fromkeys(evaluator.source.weights.weights, treatment))


def attempt(evaluator: Evaluator, step: float, path: Path, *hurdles: Hurdle) -> TrialResult:
    result = evaluator.attempt(0, steps(evaluator, step), path, hurdles)
    assert isinstance(result, TrialResult)
    return result


@pytest.fixture
def evaluator() -> Evaluator:
    return Evaluator.of(teacher(), InParts())


def evaluations(evaluator: Evaluator) -> int:
    task: Any = evaluator.task.own  # type: ignore[attr-defined]
    return int(task.evaluations)


def test_a_plan_clearly_worse_than_a_hurdle_is_not_evaluated(
    evaluator: Evaluator, tmp_path: Path
) -> None:
    good = attempt(evaluator, 0.1, tmp_path / "good.acz")
    assert len(good.losses) == 32  # of forty
    assert evaluations(evaluator) == 1
    bad = attempt(evaluator, 1.5, tmp_path / "bad.acz", Hurdle(good.losses, 0, "worse"))
    assert evaluations(evaluator) == 1
    assert (bad.rejected, bad.feasible, list(bad.values)) == ("worse", False, ["size_bytes"])
    better = attempt(evaluator, 0.05, tmp_path / "better.acz", Hurdle(good.losses, 0, "worse"))
    assert better.rejected is None
    assert "accuracy" in better.values


def test_a_hurdle_is_for_files_of_its_size_and_above(evaluator: Evaluator, tmp_path: Path) -> None:
    good = attempt(evaluator, 0.1, tmp_path / "good.acz")
    hurdle = Hurdle(good.losses, good.size_bytes, "worse")
    assert attempt(evaluator, 1.5, tmp_path / "small.acz", hurdle).rejected is None


@pytest.mark.parametrize("seed", range(5))
def test_a_difference_within_chance_rejects_nothing(
    seed: int, evaluator: Evaluator, tmp_path: Path
) -> None:
    good = attempt(evaluator, 0.1, tmp_path / "good.acz")
    noise = torch.randn(32, generator=torch.Generator().manual_seed(seed)).tolist()
    spread = max(good.losses)
    alike = tuple(loss + spread * one for loss, one in zip(good.losses, noise, strict=True))
    again = attempt(evaluator, 0.1, tmp_path / "again.acz", Hurdle(alike, 0, "worse"))
    assert again.rejected is None


def test_other_parts_cannot_be_compared(evaluator: Evaluator, tmp_path: Path) -> None:
    for losses in ((0.0,) * 7, ()):
        result = attempt(evaluator, 1.5, tmp_path / "m.acz", Hurdle(losses, 0, "worse"))
        assert result.rejected is None


def test_a_plan_far_above_the_budget_is_not_encoded(tmp_path: Path) -> None:
    evaluator = Evaluator.of(teacher(), InParts(), {SIZE: Budget(5000).limit})
    path = tmp_path / "large.acz"
    found = evaluator.attempt(3, uncompressed_plan(evaluator.source), path)
    assert isinstance(found, GivenUp)
    assert found.number == 3
    assert found.excesses[SIZE] > 5
    assert not path.exists()


def test_a_plan_predicted_to_be_far_worse_is_not_encoded(
    evaluator: Evaluator, tmp_path: Path
) -> None:
    path = tmp_path / "coarse.acz"
    rise = Estimator(evaluator.encoder, 256)
    plan = steps(evaluator, 1.5)
    predicted = sum(rise.estimate(name, one).loss_rise for name, one in plan.treatments.items())
    for share, is_given_up in ((0.09, True), (0.11, False)):
        hurdle = Hurdle((), 0, "worse than trial 7", share * predicted)
        found = evaluator.attempt(0, plan, path, [hurdle])
        assert isinstance(found, GivenUp) == is_given_up == (not path.exists())
        if isinstance(found, GivenUp):
            assert found.reason == "predicted to be far worse than trial 7"


def test_a_plan_a_little_above_the_budget_is_measured_by_its_file(tmp_path: Path) -> None:
    size = attempt(Evaluator.of(teacher(), InParts()), 0.5, tmp_path / "m.acz").size_bytes
    evaluator = Evaluator.of(teacher(), InParts(), {SIZE: Budget(size - 1).limit})
    result = attempt(evaluator, 0.5, tmp_path / "m.acz")
    assert result.size_bytes == size
    assert not result.feasible
    assert evaluations(evaluator) == 0


def test_only_what_changed_is_encoded_again(
    evaluator: Evaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []
    original = compression.encode_factors

    def watched(members: Any, name: str, *rest: Any) -> Any:
        encoded.append(name)
        return original(members, name, *rest)

    monkeypatch.setattr(compression, "encode_factors", watched)
    plan = steps(evaluator, 0.5)
    first = evaluator.run(0, plan, tmp_path / "first.acz")
    assert encoded == list(plan.treatments)
    changed = Treatment(structure=Dense(), precision=Uniform(bits=4, group="row"))
    other = CompressionPlan(treatments={**plan.treatments, "head.weight": changed})
    evaluator.run(1, other, tmp_path / "second.acz")
    assert encoded == [*plan.treatments, "head.weight"]
    evaluator.run(2, plan, tmp_path / "third.acz")
    assert (tmp_path / "third.acz").read_bytes() == (tmp_path / "first.acz").read_bytes()
    assert first.size_bytes == (tmp_path / "first.acz").stat().st_size


def test_limits_on_objectives_decide_what_is_feasible(tmp_path: Path) -> None:
    bits = Objective("bits", "minimize", lambda measured: 4.0)
    evaluator = Evaluator.of(teacher(), InParts(), {"bits": Limit(3.0)}, [bits])
    result = attempt(evaluator, 0.5, tmp_path / "m.acz")
    assert not result.feasible
    assert result.values["bits"] == 4.0
    plain = Evaluator.of(teacher(), InParts())
    accuracy = attempt(plain, 0.5, tmp_path / "m.acz").values["accuracy"]
    for bound, feasible in ((accuracy, True), (accuracy + 0.01, False)):
        limited = replace(plain, limits={"accuracy": Limit(bound, "maximize")})
        assert attempt(limited, 0.5, tmp_path / "m.acz").feasible is feasible
