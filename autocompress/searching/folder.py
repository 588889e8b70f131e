"""The folder of a search: what it is about, what is finished, and what that amounts to.

Knows neither torch nor Optuna, so that a running search can be looked at from outside.

    search.json     what is searched: model, data, space, budget, seed (class `Settings`)
    baseline.json   the uncompressed model's numbers
    trials/0007/    a trial: model.acz and trial.json, and where latency counts model.onnx;
                    `trials/baseline/` the uncompressed model
    test.json       the metric on test data, for members of the front
    result.json     the outcome, as `autocompress search --json` prints it
    recovered/          the best plan fine-tuned, and its control: model.acz and trial.json
    front.{csv,png,html}, report.md, hypervolume.png
    optuna.journal, mlflow.db, mlartifacts/
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from autocompress.artifact import open_artifact
from autocompress.errors import SearchError
from autocompress.outcome.objectives import LATENCY, LATENCY_MS, Direction, LatencyBudget
from autocompress.outcome.results import Scored, SearchResult, TrialResult, pareto_front
from autocompress.support.files import write_json

SamplerName = Literal["tpe", "nsga2", "random"]
TRIAL = "trial.json"
_ARTIFACT = "model.acz"
_TREATMENTS_SHOWN = 3


class Settings(BaseModel):
    """What a search is about. A folder is only ever continued with equal settings.

    Attributes:
        name: What is compressed.
        metric: Name of the task's metric.
        directions: By objective name, whether less or more of it is better.
        budget_bytes: The limit on the size, or None.
        sampler: Optuna sampler.
        seed: Seed of the sampler.
        model: Hash of the model.
        data: Fingerprint of the task's data.
        space: Hash of the search space.
        max_rise: How much worse the metric may become, in shares of the baseline, or None.
        limits: Bounds on further objectives, by name.
        latency_budget: The limit on the time for a word, as in "0.25x", or None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    metric: str
    directions: dict[str, Direction]
    budget_bytes: int | None
    sampler: SamplerName
    seed: int
    model: str
    data: str
    space: str
    max_rise: float | None = None
    limits: dict[str, float] = {}
    latency_budget: str | None = None


class SearchFolder:
    """Reads and writes the files of one search."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Create the folder and keep other searches out while this one runs.

        Raises:
            SearchError: If the folder cannot be written, or another process searches in it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / "lock").open("w")
        except OSError as error:
            raise SearchError(
                f"cannot write to '{self.path}': {error.strerror}; choose another --out"
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise SearchError(
                    f"another process is searching in '{self.path}'; wait for it or choose "
                    "another --out"
                ) from error
            yield

    def adopt(self, settings: Settings) -> None:
        """Write the settings into a new folder, or make sure that the folder's are equal.

        Raises:
            SearchError: If the folder holds another search; the message names the difference.
        """
        if not (self.path / "search.json").exists():
            write_json(self.path / "search.json", settings.model_dump())
            return
        there, here = self.settings().model_dump(), settings.model_dump()
        differences = [
            f"{key} is {there[key]!r} there and {here[key]!r} here"
            for key in here
            if there[key] != here[key]
        ]
        if differences:
            raise SearchError(
                f"'{self.path}' holds another search: {'; '.join(differences)}; "
                "choose another --out"
            )

    def settings(self) -> Settings:
        """Read what the search is about.

        Raises:
            SearchError: If the folder holds no search.
        """
        try:
            return Settings.model_validate(self._read("search.json"))
        except (OSError, ValueError, ValidationError) as error:
            raise SearchError(
                f"'{self.path}' holds no search; `autocompress search --out` makes such a folder"
            ) from error

    def artifact(self, number: int | None) -> Path:
        """Return the path of a trial's artifact, or with None of the baseline's."""
        return self._trial("baseline" if number is None else f"{number:04d}") / _ARTIFACT

    def save_trial(self, result: TrialResult) -> None:
        """Make a result durable; it is there whole or not at all."""
        write_json(self.artifact(result.number).with_name(TRIAL), result.to_json())

    def trial(self, number: int) -> TrialResult | None:
        """Return a finished trial, or None if it did not finish."""
        path = self.artifact(number).with_name(TRIAL)
        if not path.exists():
            return None
        return TrialResult.from_json(json.loads(path.read_text(encoding="utf-8")))

    def trials(self) -> list[TrialResult]:
        """Return all finished trials by number."""
        paths = (self.path / "trials").glob(f"[0-9]*/{TRIAL}")
        numbers = sorted(int(path.parent.name) for path in paths)
        return [result for number in numbers if (result := self.trial(number))]

    def baseline(self) -> dict[str, float] | None:
        """Return the uncompressed model's numbers, or None before they were measured."""
        return self._read("baseline.json") if (self.path / "baseline.json").exists() else None

    def save_baseline(self, values: Mapping[str, float]) -> None:
        """Keep the uncompressed model's numbers."""
        write_json(self.path / "baseline.json", values)

    def recovered(self, name: str, budget: str) -> Path:
        """Return the path of a fine-tuned artifact: "recovered" or its "control"."""
        return self.path / "recovered" / f"{name}-{budget.replace(' ', '')}" / _ARTIFACT

    def test_scores(self) -> dict[Path, float]:
        """Return the metric on test data by the path of the artifact."""
        if not (self.path / "test.json").exists():
            return {}
        scores: dict[str, float] = self._read("test.json")
        return {self.path / name: score for name, score in scores.items()}

    def save_test_scores(self, scores: Mapping[Path, float]) -> None:
        """Keep the metric on test data."""
        named = {str(path.relative_to(self.path)): score for path, score in scores.items()}
        write_json(self.path / "test.json", named)

    def result(
        self, seconds: float, smallest_bytes: int | None = None, without_file: int = 0
    ) -> SearchResult:
        """Put together what the search has found so far.

        Args:
            seconds: Wall time spent on it.
            smallest_bytes: The smallest file seen outside of trials, if any.
            without_file: Trials that failed, or were given up before they were encoded.

        Raises:
            SearchError: If the folder holds no search, or its baseline is not yet measured.
        """
        settings, baseline = self.settings(), self.baseline()
        if baseline is None:
            raise SearchError(f"the search in '{self.path}' has not measured its baseline yet")
        trials, tests = self.trials(), self.test_scores()
        front = pareto_front(trials, settings.directions)
        scored = [
            self._scored(result.number, self.artifact(result.number), result.values, tests)
            for result in front
        ]
        sizes = [result.size_bytes for result in trials]
        sizes += [] if smallest_bytes is None else [smallest_bytes]
        found = SearchResult(
            name=settings.name,
            metric=settings.metric,
            directions=settings.directions,
            budget_bytes=settings.budget_bytes,
            max_rise=settings.max_rise,
            limits={**settings.limits, **_latency_limit(settings, baseline)},
            baseline=self._scored(None, self.artifact(None), baseline, tests),
            recovered=tuple(self._recovered("recovered", tests)),
            controls=tuple(self._recovered("control", tests)),
            best=None,
            front=tuple(scored),
            trials=len(trials) + without_file,
            without_file=without_file,
            smallest_bytes=min(sizes, default=None),
            seconds=seconds,
        )
        kept = [*found.front, *filter(found.keeps_limits, found.recovered)]
        nearest = None if kept else self._nearest(found, trials)
        return replace(found, best=found.best_of(kept), nearest=nearest)

    def _nearest(self, found: SearchResult, trials: Sequence[TrialResult]) -> Scored | None:
        """Return what misses the limits by the least: a measured trial, or fine-tuned."""
        measured = [
            self._scored(trial.number, self.artifact(trial.number), trial.values, {})
            for trial in trials
            if set(trial.values) >= set(found.directions)
        ]
        return min([*measured, *found.recovered], key=found.miss, default=None)

    def _recovered(self, name: str, tests: Mapping[Path, float]) -> Iterator[Scored]:
        for path in sorted((self.path / "recovered").glob(f"{name}-*/{TRIAL}")):
            result = TrialResult.from_json(json.loads(path.read_text(encoding="utf-8")))
            artifact = path.with_name(_ARTIFACT)
            if result.values.keys() < self.settings().directions.keys():
                continue  # no file of it was within the budget
            yield self._scored(result.number, artifact, result.values, tests)

    def _scored(
        self,
        number: int | None,
        path: Path,
        values: Mapping[str, float],
        tests: Mapping[Path, float],
    ) -> Scored:
        return Scored(number, path, values, tests.get(path), describe_artifact(path))

    def _trial(self, name: str) -> Path:
        return self.path / "trials" / name

    def _read(self, name: str) -> Any:
        return json.loads((self.path / name).read_text(encoding="utf-8"))


def _latency_limit(settings: Settings, baseline: Mapping[str, float]) -> dict[str, float]:
    if settings.latency_budget is None:
        return {}
    budget = LatencyBudget.parse(settings.latency_budget)
    return {LATENCY: budget.ratio(baseline[LATENCY_MS])}


def describe_artifact(path: Path) -> str:
    """Name the treatments of an artifact on one line, those of the most bytes first.

    Weights that are treated alike are counted: "embedding.weight +1" stands for two of them.
    """
    sizes: dict[str, float] = {}
    names: dict[str, list[str]] = {}
    for line in open_artifact(path).report():
        label = f"{line.structure} + {line.precision}"
        sizes[label] = sizes.get(label, 0) + line.size_bytes
        names.setdefault(label, []).append(line.site or line.name)
    ranked = sorted(sizes, key=lambda label: -sizes[label])
    others = {
        label: f" +{len(same) - 1}" if len(same) > 1 else "" for label, same in names.items()
    }
    parts = [f"{names[label][0]}{others[label]}: {label}" for label in ranked[:_TREATMENTS_SHOWN]]
    more = len(ranked) - _TREATMENTS_SHOWN
    return ", ".join(parts) + (f", {more} more" if more > 0 else "")
