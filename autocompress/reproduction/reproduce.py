"""Compress as the papers did, fine-tune alike, and set this tool's plans of equal size beside."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import nn

from autocompress.encoding.encoder import uncompressed_plan
from autocompress.errors import SearchError
from autocompress.knowledge.kept import Kept
from autocompress.knowledge.task import Task
from autocompress.outcome.limits import Budget, format_bytes
from autocompress.outcome.names import SIZE
from autocompress.plan import CompressionPlan
from autocompress.recovery import RecoveryBudget, RecoverySettings, clean_up, recover
from autocompress.reproduction.accounting import accounted_bytes
from autocompress.reproduction.papers import METHODS, Method
from autocompress.reproduction.table import Line, Pair, Point, Reproduction, Track
from autocompress.searching.claim import claimed
from autocompress.searching.openings.uniform import openings
from autocompress.searching.space.language import load_space
from autocompress.support import progress
from autocompress.support.files import write_json
from autocompress.trial.evaluator import Evaluator

_OPENINGS = 3
_ABOUT = "reproduction.json"


def reproduce(
    model: nn.Module,
    task: Task,
    out: Path,
    *,
    steps: int = 500,
    segments: int = 3,
    seed: int = 0,
) -> Reproduction:
    """Carry out every method of the papers on a model, without and with recovery.

    Beside each method stands this tool's plan for the same number of bytes: the best, on
    validation data, of the first trials of a search under that budget. Recoveries have equal
    settings, and each is followed by measuring the file. What is finished lies in `out` and is
    not done again.

    Args:
        model: A recurrent model with an embedding and an output layer of as many rows.
        task: Its task; gives the training losses.
        out: The folder for files and numbers.
        steps: Batches of fine-tuning for each recovery.
        segments: Files that are measured during a recovery, of which the best is kept.
        seed: Of fine-tuning.

    Raises:
        ModelError: If the model cannot be compressed, or has no such output layer.
        PlanError: If a method does not fit, as for a model of few rows.
        SearchError: If the folder cannot be used, or belongs to another model or other data.
    """
    with claimed(out, (_ABOUT,)):
        return _Run(model, task, out, steps, segments, seed).run()


class _Run:
    """One call of `reproduce`: what all rows share."""

    def __init__(
        self, model: nn.Module, task: Task, out: Path, steps: int, segments: int, seed: int
    ) -> None:
        self._model, self._task, self._out = model, task, out
        self._evaluator = Evaluator.of(model, task, kept=Kept.of(model, task, out))
        source = self._evaluator.source
        self._plans = {method.key: method.plan(source) for method in METHODS}
        for plan in self._plans.values():
            self._evaluator.encoder.check(plan)
        budget = RecoveryBudget(steps=steps)
        self._settings = RecoverySettings(budget, seed=seed, segments=segments)
        self._adopt({"model": source.weights.sha256, "data": task.fingerprint()})

    def _adopt(self, about: dict[str, str]) -> None:
        path = self._out / _ABOUT
        if path.exists() and json.loads(path.read_text(encoding="utf-8")) != about:
            raise SearchError(
                f"'{self._out}' belongs to another model or other data; choose another --out"
            )
        write_json(path, about)

    def run(self) -> Reproduction:
        lines = []
        baseline = self._compressed("baseline", uncompressed_plan(self._evaluator.source))
        for number, method in enumerate(METHODS, start=1):
            progress.say(f"{number}/{len(METHODS)} {method.name}")
            lines.append(self._line(method))
        progress.say("the uncompressed model, fine-tuned alike")
        control = self._recovered("control", uncompressed_plan(self._evaluator.source), None)
        assert self._settings.budget.steps is not None
        return Reproduction(self._settings.budget.steps, baseline, control, tuple(lines))

    def _line(self, method: Method) -> Line:
        plan = self._plans[method.key]
        folder = method.key
        plain = self._compressed(folder, plan)
        own_plan = self._own_plan(f"{folder}/own", plain.size_bytes)
        own = self._compressed(f"{folder}/own", own_plan)
        recovered = self._recovered(folder, plan, None)
        own_recovered = self._recovered(f"{folder}/own", own_plan, recovered.size_bytes)
        pairs: dict[Track, Pair] = {
            "plain": Pair(plain, own),
            "recovered": Pair(recovered, own_recovered),
        }
        return Line(method, accounted_bytes(self._evaluator.encoder, plan), pairs)

    def _own_plan(self, folder: str, limit_bytes: int) -> CompressionPlan:
        """Return the best plan within a number of bytes among the first trials of a search."""

        def choose() -> dict[str, Any]:
            evaluator = self._within(limit_bytes)
            space = load_space("size")
            ladders = tuple(plan for plan in space.uniform if plan.ladder)
            space = space.model_copy(update={"uniform": ladders})
            candidates = openings(space, self._evaluator.encoder, limit_bytes)[:_OPENINGS]
            path = self._out / folder / "candidate.acz"
            results = [
                evaluator.run(number, candidate.plan, path)
                for number, candidate in enumerate(candidates)
            ]
            path.unlink()
            fitting = [result for result in results if result.feasible]
            if not fitting:
                raise SearchError(f"no plan of the search space fits {format_bytes(limit_bytes)}")
            return min(fitting, key=lambda result: result.values[self._task.metric]).plan.to_json()

        return CompressionPlan.from_json(self._once(f"{folder}/plan.json", choose))

    def _compressed(self, folder: str, plan: CompressionPlan) -> Point:
        """Carry out a plan and measure the file."""
        artifact = self._out / folder / "model.acz"

        def measure() -> dict[str, Any]:
            result = self._evaluator.run(0, plan, artifact)
            return self._point(result.size_bytes, result.values[self._task.metric], artifact)

        return Point(**self._once(f"{folder}/measured.json", measure))

    def _recovered(self, folder: str, plan: CompressionPlan, limit_bytes: int | None) -> Point:
        """Fine-tune in the representation of a plan and measure the best file."""
        place = f"{folder}/recovered-{self._settings.budget.steps}-steps"
        artifact = self._out / place / "model.acz"

        def measure() -> dict[str, Any]:
            result = recover(
                self._model,
                self._task,
                self._within(limit_bytes),
                plan,
                artifact.parent,
                self._settings,
                0,
            )
            return self._point(result.size_bytes, result.values[self._task.metric], artifact)

        point = Point(**self._once(f"{place}/measured.json", measure))
        clean_up(artifact.parent)
        return point

    def _within(self, limit_bytes: int | None) -> Evaluator:
        limits = {} if limit_bytes is None else {SIZE: Budget(limit_bytes).limit}
        return replace(self._evaluator, limits=limits)

    def _point(self, size_bytes: int, valid: float, artifact: Path) -> dict[str, Any]:
        return asdict(Point(size_bytes, valid, self._evaluator.score(artifact, "test")))

    def _once(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what a file says; if it is not there yet, compute and keep it."""
        path = self._out / name
        if not path.exists():
            write_json(path, compute())
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return document
