"""The folder of a search: what it is about, what is finished, and what that amounts to.

Knows neither torch nor Optuna, so that a running search can be looked at from outside.

    search.json     what is searched: model, data, space, limits, seed (class `Settings`)
    baseline.json   the uncompressed model's numbers
    task.json       what tells the task's data from others: numbers and batches
    trials/0007/    a trial: model.acz and trial.json, and where latency counts model.onnx;
                    `trials/baseline/` the uncompressed model
    test.json       the metric on test data, for members of the front
    result.json     the outcome, as `autocompress search --json` prints it
    openings.json   what the search begins with
    recovered/      the best plan fine-tuned, and its control: model.acz and trial.json
    front.{csv,png,html}, report.md, hypervolume.png
    optuna.journal, mlflow.db, mlartifacts/
"""

from __future__ import annotations

import fcntl
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from autocompress.errors import PlanError, SearchError
from autocompress.outcome.results import TrialResult
from autocompress.searching.settings import Settings
from autocompress.support.files import write_json

TRIAL = "trial.json"
ARTIFACT = "model.acz"


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
        self.check(settings)
        if not (self.path / "search.json").exists():
            write_json(self.path / "search.json", settings.model_dump())

    def check(self, settings: Settings) -> None:
        """Make sure that the folder holds no other search.

        Raises:
            SearchError: If it does; the message names the difference.
        """
        if not (self.path / "search.json").exists():
            return
        known = self.settings()
        if known.layout != settings.layout:
            raise SearchError(
                f"'{self.path}' holds a search of layout {known.layout}, but this version goes on "
                f"with layout {settings.layout} alone; `autocompress front` shows it, choose "
                "another --out to search anew"
            )
        there, here = known.model_dump(), settings.model_dump()
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
            SearchError: If the folder holds no search, or the file is damaged.
        """
        try:
            return Settings.model_validate(self._read("search.json"))
        except (OSError, ValidationError) as error:
            raise SearchError(
                f"'{self.path}' holds no search; `autocompress search --out` makes such a folder"
            ) from error

    def artifact(self, number: int | None) -> Path:
        """Return the path of a trial's artifact, or with None of the baseline's."""
        return self._trial("baseline" if number is None else f"{number:04d}") / ARTIFACT

    def save_trial(self, result: TrialResult) -> None:
        """Make a result durable; it is there whole or not at all."""
        write_json(self.artifact(result.number).with_name(TRIAL), result.to_json())

    def trial(self, number: int) -> TrialResult | None:
        """Return a finished trial, or None if it did not finish."""
        path = self.artifact(number).with_name(TRIAL)
        if not path.exists():
            return None
        return _read_trial(path)

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

    def recovered(self, name: str, key: str) -> Path:
        """Return the path of a fine-tuned artifact.

        Args:
            name: "recovered" or its "control".
            key: Of the settings of the fine-tuning.
        """
        return self.path / "recovered" / f"{name}-{key}" / ARTIFACT

    def all_recovered(self, name: str) -> Iterator[tuple[Path, TrialResult]]:
        """Yield the paths of all fine-tuned artifacts that are finished, with their numbers."""
        for path in sorted((self.path / "recovered").glob(f"{name}-*/{TRIAL}")):
            yield path.with_name(ARTIFACT), _read_trial(path)

    def test_scores(self) -> dict[Path, float]:
        """Return the metric on test data by the path of the artifact."""
        if not (self.path / "test.json").exists():
            return {}
        scores: dict[str, float] = self._read("test.json")
        # Earlier versions wrote down NaN as well.
        return {self.path / name: one for name, one in scores.items() if math.isfinite(one)}

    def save_test_scores(self, scores: Mapping[Path, float]) -> None:
        """Keep the metric on test data."""
        named = {str(path.relative_to(self.path)): score for path, score in scores.items()}
        write_json(self.path / "test.json", named)

    def _trial(self, name: str) -> Path:
        return self.path / "trials" / name

    def _read(self, name: str) -> Any:
        path = self.path / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise _damaged(path, error) from error


def _read_trial(path: Path) -> TrialResult:
    try:
        return TrialResult.from_json(json.loads(path.read_text(encoding="utf-8")))
    except PlanError as error:
        raise SearchError(
            f"'{path}' holds a plan that cannot be read ({error}); import what registers its "
            "methods first"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> SearchError:
    return SearchError(
        f"'{path}' is damaged ({type(error).__name__}: {error}); restore it from a copy, or "
        "choose another --out to search anew"
    )
