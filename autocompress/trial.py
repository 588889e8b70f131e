"""One plan, measured. Knows neither Optuna nor MLflow."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from autocompress.artifact import Artifact, open_artifact
from autocompress.compression import Source, uncompressed_plan, write_artifact
from autocompress.errors import ArtifactError
from autocompress.objectives import (
    SIZE,
    Budget,
    Direction,
    Measured,
    Objective,
    Split,
    size_objective,
)
from autocompress.plan import CompressionPlan
from autocompress.results import TrialResult
from autocompress.runtime import fill
from autocompress.structures import Factor
from autocompress.task import Task


class Evaluator:
    """Carries out plans and measures them, always from the artifact reloaded from its file.

    Attributes:
        source: The model, ready for compression.
        objectives: Size first, then the task's metric, then the user's own.
        budget: The limit on the size, or None.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        budget: Budget | None = None,
        extra: Sequence[Objective] = (),
        cache: Path | None = None,
    ) -> None:
        self.source = Source.of(model, task, cache)
        self._model = copy.deepcopy(model)
        self._task = task
        self.budget = budget
        metric = Objective(
            task.metric, task.direction, lambda measured: task.evaluate(measured.model, "valid")
        )
        self.objectives = (size_objective(), metric, *extra)

    @property
    def directions(self) -> dict[str, Direction]:
        """By objective name, whether less or more of it is better."""
        return {objective.name: objective.direction for objective in self.objectives}

    def within(self, budget: Budget | None) -> Evaluator:
        """Return an evaluator of the same model under another budget, or under none."""
        other = copy.copy(self)
        other.budget = budget
        return other

    def run(
        self,
        number: int,
        plan: CompressionPlan,
        path: Path,
        factors: Mapping[str, Mapping[str, Factor]] | None = None,
    ) -> TrialResult:
        """Carry out a plan into a file and measure that file.

        A file above the budget is not evaluated any further.

        Args:
            number: The trial's number.
            plan: A treatment for every weight.
            path: The file; its folder is made where it is missing.
            factors: By the plan's entries, what to store instead of the weights' own factors.

        Raises:
            PlanError: If the plan does not fit the model.
            ObjectiveError: If an objective is not a finite number.
        """
        started, clock, cpu = time.time(), time.perf_counter(), time.process_time()
        artifact = self._write(plan, path, factors)
        size = artifact.size_bytes
        feasible = self.budget is None or self.budget.excess(size) <= 0
        values = self._measure(plan, artifact) if feasible else {SIZE: float(size)}
        return TrialResult(
            number=number,
            plan=plan,
            values=values,
            feasible=feasible,
            started=started,
            seconds=time.perf_counter() - clock,
            cpu_seconds=time.process_time() - cpu,
        )

    def baseline(self, path: Path) -> dict[str, float]:
        """Store the model uncompressed, reload it and measure it like any plan.

        Raises:
            ArtifactError: If what was reloaded is not what the user handed in.
        """
        plan = uncompressed_plan(self.source)
        artifact = self._write(plan, path)
        state = artifact.state_dict()
        for name, weight in self.source.weights.weights.items():
            if not (state[name] == weight.values).all():
                raise ArtifactError(f"weight '{name}' changed when stored without compression")
        return self._measure(plan, artifact)

    def score(self, path: Path, split: Split) -> float:
        """Return the task's metric of an artifact on a split."""
        return float(self._task.evaluate(fill(self._model, open_artifact(path)), split))

    def _write(
        self,
        plan: CompressionPlan,
        path: Path,
        factors: Mapping[str, Mapping[str, Factor]] | None = None,
    ) -> Artifact:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_artifact(self.source, plan, path, factors)
        return open_artifact(path)

    def _measure(self, plan: CompressionPlan, artifact: Artifact) -> dict[str, float]:
        measured = Measured(plan, artifact.path, artifact, fill(self._model, artifact))
        return {objective.name: objective.measure(measured) for objective in self.objectives}
