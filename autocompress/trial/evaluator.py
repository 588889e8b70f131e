"""One plan, measured. Knows neither Optuna nor MLflow, and no engine by name."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from torch import nn

from autocompress.artifact import Artifact, open_artifact
from autocompress.encoding.encoder import Encoder, Factors, uncompressed_plan
from autocompress.encoding.estimates import Estimator
from autocompress.engines.base import Engine
from autocompress.engines.torch import TorchEngine
from autocompress.errors import ArtifactError, TaskError
from autocompress.knowledge.guarded import guarded
from autocompress.knowledge.kept import Kept
from autocompress.knowledge.source import Source
from autocompress.knowledge.task import Task
from autocompress.layers.copies import plain
from autocompress.outcome.limits import Limit, excesses
from autocompress.outcome.measured import Measured
from autocompress.outcome.metric import Direction
from autocompress.outcome.names import SIZE
from autocompress.outcome.objectives import (
    Objective,
    Phase,
    Split,
    directions_of,
    limited,
)
from autocompress.outcome.results import TrialResult
from autocompress.plan import CompressionPlan
from autocompress.support.files import make_folder
from autocompress.support.threads import one_thread
from autocompress.trial.looks import GivenUp, Hurdle, foreseen, seen
from autocompress.trial.measuring import engine_of, objectives_of, predicted, times

_ROWS = 256


class _Look(NamedTuple):
    """What was seen of a file, and why no more of it."""

    values: dict[str, float]
    rejected: str | None
    losses: tuple[float, ...] = ()
    rises: dict[str, float] | None = None


@dataclass(frozen=True)
class Evaluator:
    """Carries out plans and measures them, always from the artifact reloaded from its file.

    Attributes:
        encoder: Carries out plans.
        engine: Runs what they give.
        task: Scores what runs.
        objectives: What is measured, by phases; size first, then the task's metric.
        limits: By objective name, what a plan must keep to be feasible.
        ending: The phases after which a trial ends if a limit on their objectives is missed: what
            would follow is then not worth its time.
    """

    encoder: Encoder
    engine: Engine
    task: Task
    objectives: tuple[Objective, ...]
    limits: Mapping[str, Limit] = field(default_factory=dict)
    ending: tuple[Phase, ...] = ("file", "engine")
    _estimator: Estimator = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_estimator", Estimator(self.encoder, _ROWS))

    @classmethod
    def of(
        cls,
        model: nn.Module,
        task: Task,
        limits: Mapping[str, Limit] | None = None,
        extra: Sequence[Objective] = (),
        kept: Kept | None = None,
    ) -> Evaluator:
        """Make the evaluator of a model that runs in torch.

        Args:
            model: It is not changed.
            task: Knows the data.
            limits: By objective name.
            extra: What is measured beside size and metric.
            kept: Where what takes long to learn is kept, or None.
        """
        model, task = plain(model), guarded(task)
        encoder = Encoder(Source.of(model, task, kept))
        engine = engine_of(TorchEngine.name, model, encoder)
        return cls(encoder, engine, task, objectives_of(task, extra), limits or {})

    @property
    def source(self) -> Source:
        """The model, and what is known of it."""
        return self.encoder.source

    @property
    def directions(self) -> dict[str, Direction]:
        """By objective name, whether less or more of it is better."""
        return directions_of(self.objectives)

    def attempt(
        self, number: int, plan: CompressionPlan, path: Path, hurdles: Sequence[Hurdle] = ()
    ) -> TrialResult | GivenUp:
        """Measure a plan as `run` does, on one thread, unless cheaper looks rule it out.

        First what the plan alone tells is measured, and its size and rise of the loss are
        estimated from a part of the rows; weights that are encoded already count with their
        size. What `looks.foreseen` finds hopeless is given up, and so is what misses a limit on
        an objective of the phase "plan". The file is looked at as `looks.seen` says.

        Raises:
            PlanError: If the plan does not fit the model.
            ObjectiveError: If an objective of the user's own is not a finite number.
            TaskError: If the task raises an exception.
        """
        self.encoder.check(plan)
        with one_thread():
            given_up = self._give_up(number, plan, path, hurdles)
            return given_up or self.run(number, plan, path, hurdles=hurdles)

    def _give_up(
        self, number: int, plan: CompressionPlan, path: Path, hurdles: Sequence[Hurdle]
    ) -> GivenUp | None:
        values = self._measured("plan", Measured(plan, path))
        missed, known = self._missed("plan", values), excesses(values, self.limits)
        if missed:
            return GivenUp(number, missed, known)
        limit = self.limits.get(SIZE)
        if limit is None and not hurdles:
            return None
        outlook = self._estimator.outlook(plan)
        self._estimator.forget()  # what is still of use, the outlook has
        if limit is not None:
            known[SIZE] = limit.excess(int(outlook.size_bytes))
        reason = foreseen(outlook, limit, hurdles)
        if reason:
            return GivenUp(number, reason, known)
        for name, factors in outlook.factors.items():
            self.encoder.encode(name, plan.treatments[name], factors)
        return None

    def run(
        self,
        number: int,
        plan: CompressionPlan,
        path: Path,
        factors: Factors | None = None,
        hurdles: Sequence[Hurdle] = (),
    ) -> TrialResult:
        """Carry out a plan into a file and measure that file.

        Phase by phase, from the size to the metric; a file above the budget is not loaded, and
        one that is too slow is not scored.

        Args:
            number: The trial's number.
            plan: A treatment for every weight.
            path: The file; its folder is made where it is missing.
            factors: By the plan's entries, what to store instead of the weights' own factors.
            hurdles: What it must not be clearly worse than to be measured whole.

        Raises:
            PlanError: If the plan does not fit the model.
            ObjectiveError: If an objective of the user's own is not a finite number.
            TaskError: If the task raises an exception.
        """
        return self._timed(number, lambda: self._write(plan, path, factors), hurdles)

    def measure(self, number: int, path: Path) -> TrialResult:
        """Measure a file that lies there already.

        Args:
            number: The number of its trial.
            path: The file.

        Raises:
            ArtifactError: If it is damaged.
            ObjectiveError: If an objective is not a finite number.
        """
        return self._timed(number, lambda: open_artifact(path), ())

    def _timed(
        self, number: int, make: Callable[[], Artifact], hurdles: Sequence[Hurdle]
    ) -> TrialResult:
        started, clock, cpu = time.time(), time.perf_counter(), time.process_time()
        artifact = make()
        look = self._look(artifact.plan, artifact, hurdles)
        missed = any(excess > 0 for excess in excesses(look.values, self.limits).values())
        return TrialResult(
            number=number,
            plan=artifact.plan,
            values=look.values,
            feasible=look.rejected is None and not missed,
            started=started,
            seconds=time.perf_counter() - clock,
            cpu_seconds=time.process_time() - cpu,
            rejected=look.rejected,
            predicted=sum(look.rises.values()) if look.rises else None,
            losses=look.losses,
            rises=look.rises or {},
        )

    def _look(self, plan: CompressionPlan, artifact: Artifact, hurdles: Sequence[Hurdle]) -> _Look:
        values = self._measured("plan", Measured(plan, artifact.path))
        values |= self._measured("file", Measured(plan, artifact.path, artifact, None, values))
        if missed := self._missed("file", values):
            return _Look(values, missed)
        model = self.engine.load(artifact)
        loaded = Measured(plan, artifact.path, artifact, model, values)
        if any(objective.phase == "engine" for objective in self.objectives):
            values |= times(self.engine, model)
        values |= self._measured("engine", loaded)
        if missed := self._missed("engine", values):
            return _Look(values, missed)
        hurdles = [one for one in hurdles if artifact.size_bytes >= one.size_bytes]
        losses, reason = seen(self.task.part_losses(model, "valid"), hurdles)
        if reason:
            return _Look(values, reason, losses)
        score = self.task.evaluate(model, "valid")
        if not math.isfinite(score):
            return _Look(values, f"{self.task.metric} is {score}", losses)
        loaded = Measured(
            plan, artifact.path, artifact, model, {**values, self.task.metric: score}
        )
        values |= self._measured("model", loaded)
        return _Look(values, None, losses, predicted(self.source, artifact))

    def _measured(self, phase: Phase, measured: Measured) -> dict[str, float]:
        own = (objective for objective in self.objectives if objective.phase == phase)
        return {objective.name: objective.measure(measured) for objective in own}

    def _missed(self, phase: Phase, values: Mapping[str, float]) -> str | None:
        """Say which limit a phase has missed, if that is the end of the trial."""
        for objective, limit in limited(self.objectives, self.limits, phase):
            is_end = phase == "plan" or phase in self.ending
            if is_end and limit.excess(values[objective.name]) > 0:
                return objective.missed(limit)
        return None

    def baseline(self, path: Path) -> dict[str, float]:
        """Store the model uncompressed, reload it and measure it like any plan.

        Raises:
            ArtifactError: If what was reloaded is not what the user handed in.
            TaskError: If the metric of it is no finite number.
        """
        plan = uncompressed_plan(self.source)
        artifact = self._write(plan, path)
        values, reason, *_ = replace(self, limits={})._look(plan, artifact, ())
        if reason is not None:
            raise TaskError(
                f"`task.evaluate` must give a finite number for the uncompressed model, but its "
                f"{reason}; mend the task or the model"
            )
        weights = self.source.weights.weights
        for name, blocks in artifact.weights():
            exact = weights[name].matrix
            if not all((stored == exact[rows]).all() for rows, stored in blocks):
                raise ArtifactError(f"weight '{name}' changed when stored without compression")
        return values

    def score(self, path: Path, split: Split) -> float:
        """Return the task's metric of an artifact on a split; perhaps NaN.

        Raises:
            TaskError: If the task raises an exception.
        """
        return float(self.task.evaluate(self.engine.load(open_artifact(path)), split))

    def _write(
        self, plan: CompressionPlan, path: Path, factors: Factors | None = None
    ) -> Artifact:
        make_folder(path.parent)
        with one_thread():
            self.encoder.write(plan, path, factors)
        return open_artifact(path)
