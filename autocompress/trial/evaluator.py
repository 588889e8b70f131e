"""One plan, measured. Knows neither Optuna nor MLflow."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from torch import nn

from autocompress.artifact import Artifact, open_artifact
from autocompress.encoding.encoder import Encoder, uncompressed_plan
from autocompress.encoding.estimates import Estimator
from autocompress.engines.torch import fill
from autocompress.errors import ArtifactError
from autocompress.knowledge.prediction import predicted_rise
from autocompress.knowledge.source import Source
from autocompress.knowledge.task import Task
from autocompress.outcome.objectives import (
    LATENCY,
    LATENCY_MS,
    SIZE,
    Budget,
    Direction,
    Limit,
    Measured,
    Objective,
    Split,
    excesses,
    size_objective,
)
from autocompress.outcome.results import TrialResult
from autocompress.plan import CompressionPlan
from autocompress.structures import Factor
from autocompress.support.threads import one_thread

if TYPE_CHECKING:
    from autocompress.engines.onnx.engine import OnnxEngine

_ROWS = 256
_EXCESS = 0.25  # what an estimate from so few rows is off by at the most, and then some
_LOOKS = {8: 5.0, 16: 4.0, 32: 3.0}
"""After so many parts, how many standard errors make a difference clear (p < 0.003 each)."""
_FAR_WORSE = 10.0  # predictions are off by a factor of seven where a rise is next to nothing


@dataclass(frozen=True)
class Hurdle:
    """A measured trial that a plan must not be clearly worse than, to be measured whole.

    Attributes:
        losses: The trial's losses on the first parts of the validation data.
        size_bytes: The hurdle stands for files of at least this size.
        reason: Why a plan that is worse is of no interest.
        predicted: The rise of the loss that was predicted for the trial, or None.
    """

    losses: tuple[float, ...]
    size_bytes: int
    reason: str
    predicted: float | None = None


@dataclass(frozen=True)
class GivenUp:
    """A plan that was given up before it was encoded.

    Attributes:
        number: The trial's number.
        reason: Why.
        excess: By how much the file is estimated to be above the budget, in shares of it; below
            0 if it fits.
    """

    number: int
    reason: str
    excess: float


class _Look(NamedTuple):
    """What was seen of a file, and why no more of it."""

    values: dict[str, float]
    rejected: str | None
    losses: tuple[float, ...] = ()
    predicted: float | None = None


class Evaluator:
    """Carries out plans and measures them, always from the artifact reloaded from its file.

    Attributes:
        encoder: Carries out plans.
        objectives: Size first, then the task's metric, then the user's own.
        budget: The limit on the size, or None.
        limits: By name, the limits on other objectives.
        deployed: Runs models in ONNX Runtime, where latency is an objective; or None.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        budget: Budget | None = None,
        extra: Sequence[Objective] = (),
        cache: Path | None = None,
        *,
        latency: bool = False,
    ) -> None:
        self.encoder = Encoder(Source.of(model, task, cache))
        self._model = copy.deepcopy(model)
        self._task = task
        self.budget = budget
        metric = Objective(
            task.metric, task.direction, lambda measured: task.evaluate(measured.model, "valid")
        )
        self.objectives = (size_objective(), metric, *extra)
        self.limits = {
            objective.name: Limit(objective.limit, objective.direction)
            for objective in extra
            if objective.limit is not None
        }
        self._estimator: Estimator | None = None
        self.deployed = self._engine() if latency else None

    @property
    def source(self) -> Source:
        """The model, and what is known of it."""
        return self.encoder.source

    @property
    def directions(self) -> dict[str, Direction]:
        """By objective name, whether less or more of it is better."""
        size, metric, *extra = (
            (objective.name, objective.direction) for objective in self.objectives
        )
        latency: list[tuple[str, Direction]] = [(LATENCY, "minimize")] if self.deployed else []
        return dict([size, metric, *latency, *extra])

    def within(self, budget: Budget | None) -> Evaluator:
        """Return an evaluator of the same model under another budget, or under none."""
        other = copy.copy(self)
        other.budget = budget
        return other

    def of(self, encoder: Encoder) -> Evaluator:
        """Return an evaluator of the same model, of which more is known."""
        other = copy.copy(self)
        other.encoder = encoder
        return other

    def limited(self, name: str, limit: Limit) -> Evaluator:
        """Return an evaluator of the same model under a further limit."""
        other = copy.copy(self)
        other.limits = {**self.limits, name: limit}
        return other

    def attempt(
        self, number: int, plan: CompressionPlan, path: Path, hurdles: Sequence[Hurdle] = ()
    ) -> TrialResult | GivenUp:
        """Measure a plan as `run` does, on one thread, unless cheaper looks rule it out.

        First size and rise of the loss are estimated from a part of the rows; weights that are
        encoded already count with their size. The plan is given up if the size is above the
        budget by a quarter, or the rise ten times that of a hurdle. Then the first 8, 16 and 32
        parts of the validation data are looked at: a plan is rejected if its losses are worse
        than those of a hurdle on the same parts by more standard errors of the mean difference
        than chance explains.

        Raises:
            PlanError: If the plan does not fit the model.
            ObjectiveError: If an objective is not a finite number.
        """
        self.encoder.check(plan)
        with one_thread():
            reason, excess = self._hopeless(plan, hurdles)
            if reason:
                return GivenUp(number, reason, excess)
            return self.run(number, plan, path, hurdles=hurdles)

    def _hopeless(
        self, plan: CompressionPlan, hurdles: Sequence[Hurdle]
    ) -> tuple[str | None, float]:
        """Say why a plan is not worth encoding, or None, and by how much it is too large."""
        if self.budget is None and not hurdles:
            return None, 0.0
        if self._estimator is None:
            self._estimator = Estimator(self.encoder, _ROWS)
        size = rise = 0.0
        for name, treatment in plan.treatments.items():
            estimate = self._estimator.estimate(name, treatment)
            rise += estimate.rise
            known = self.encoder.known_bytes(name, treatment)
            size += estimate.size_bytes if known is None else known
        excess = -1.0 if self.budget is None else self.budget.excess(int(size))
        if excess > _EXCESS:
            return f"estimated to be {100 * excess:.0f} % above the budget", excess
        for hurdle in hurdles:
            is_larger = size > (1 + _EXCESS) * hurdle.size_bytes
            if hurdle.predicted and is_larger and rise > _FAR_WORSE * hurdle.predicted:
                return f"predicted to be far {hurdle.reason}", excess
        return None, excess

    def run(
        self,
        number: int,
        plan: CompressionPlan,
        path: Path,
        factors: Mapping[str, Mapping[str, Factor]] | None = None,
        hurdles: Sequence[Hurdle] = (),
    ) -> TrialResult:
        """Carry out a plan into a file and measure that file.

        A file above the budget is not evaluated any further.

        Args:
            number: The trial's number.
            plan: A treatment for every weight.
            path: The file; its folder is made where it is missing.
            factors: By the plan's entries, what to store instead of the weights' own factors.
            hurdles: What it must not be clearly worse than to be measured whole.

        Raises:
            PlanError: If the plan does not fit the model.
            ObjectiveError: If an objective is not a finite number.
        """
        started, clock, cpu = time.time(), time.perf_counter(), time.process_time()
        artifact = self._write(plan, path, factors)
        look = self._look(plan, artifact, hurdles)
        feasible = look.rejected is None and not any(
            excess > 0 for excess in excesses(look.values, self.limits).values()
        )
        return TrialResult(
            number=number,
            plan=plan,
            values=look.values,
            feasible=feasible,
            started=started,
            seconds=time.perf_counter() - clock,
            cpu_seconds=time.process_time() - cpu,
            rejected=look.rejected,
            predicted=look.predicted,
            losses=look.losses,
        )

    def _look(self, plan: CompressionPlan, artifact: Artifact, hurdles: Sequence[Hurdle]) -> _Look:
        size = {SIZE: float(artifact.size_bytes)}
        if self.budget is not None and self.budget.excess(artifact.size_bytes) > 0:
            return _Look(size, f"above {self.budget}")
        model, values = self._run_model(artifact)
        values |= size
        if self.deployed and excesses(values, self.limits).get(LATENCY, 0) > 0:
            return _Look(values, "above the latency budget")
        hurdles = [one for one in hurdles if artifact.size_bytes >= one.size_bytes]
        losses: tuple[float, ...] = ()
        parts = iter(self._task.part_losses(model, "valid"))
        for count, errors in _LOOKS.items():
            losses += tuple(islice(parts, count - len(losses)))
            for hurdle in hurdles:
                if len(losses) == count and _clearly_worse(losses, hurdle.losses, errors):
                    return _Look(values, hurdle.reason, losses)
        measured = Measured(plan, artifact.path, artifact, model)
        values |= {one.name: one.measure(measured) for one in self.objectives}
        return _Look(values, None, losses, self._predicted(artifact, model))

    def _run_model(self, artifact: Artifact) -> tuple[nn.Module, dict[str, float]]:
        """Return the model that is to be scored, and how long it takes if that counts."""
        if self.deployed is None:
            return fill(self._model, artifact), {}
        model = self.deployed.load(artifact)
        latency = self.deployed.latency(model)
        milliseconds = {LATENCY_MS: latency.p50_ms, "latency_p95_ms": latency.p95_ms}
        return model, {LATENCY: latency.ratio, **milliseconds, "latency_noise": latency.noise}

    def _predicted(self, artifact: Artifact, model: nn.Module) -> float | None:
        """Return the predicted rise of the loss for the errors that a file makes."""
        if not self.source.calibration.sensitivities:
            return None
        decoded = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
        state = artifact.state_dict() if self.deployed else decoded
        weights = self.source.weights.weights
        return sum(
            predicted_rise(self.source, name, (state[name] - one.values).reshape(one.matrix.shape))
            for name, one in weights.items()
        )

    def baseline(self, path: Path) -> dict[str, float]:
        """Store the model uncompressed, reload it and measure it like any plan.

        Raises:
            ArtifactError: If what was reloaded is not what the user handed in.
        """
        plan = uncompressed_plan(self.source)
        artifact = self._write(plan, path)
        values = self.within(None)._look(plan, artifact, ()).values
        state = artifact.state_dict()
        for name, weight in self.source.weights.weights.items():
            if not (state[name] == weight.values).all():
                raise ArtifactError(f"weight '{name}' changed when stored without compression")
        return values

    def score(self, path: Path, split: Split) -> float:
        """Return the task's metric of an artifact on a split."""
        artifact = open_artifact(path)
        if self.deployed is None:
            return float(self._task.evaluate(fill(self._model, artifact), split))
        return float(self._task.evaluate(self.deployed.load(artifact), split))

    def _write(
        self,
        plan: CompressionPlan,
        path: Path,
        factors: Mapping[str, Mapping[str, Factor]] | None = None,
    ) -> Artifact:
        path.parent.mkdir(parents=True, exist_ok=True)
        with one_thread():
            self.encoder.write(plan, path, factors)
        return open_artifact(path)

    def _engine(self) -> OnnxEngine:
        from autocompress.engines.onnx.engine import OnnxEngine  # loads only for this

        with TemporaryDirectory() as folder:
            path = Path(folder) / "model.acz"
            return OnnxEngine(self._model, self._write(uncompressed_plan(self.source), path))


def _clearly_worse(losses: Sequence[float], others: Sequence[float], errors: float) -> bool:
    """Tell from losses on the same parts whether the first ones are worse by so many errors."""
    if len(losses) > len(others):
        return False
    differences = np.subtract(losses, others[: len(losses)])
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return float(differences.mean()) > errors * error
