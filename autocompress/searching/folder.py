"""The folder of a search: what it is about, what is finished, and what that amounts to.

Knows neither torch nor Optuna, so that a running search can be looked at from outside.

    search.json     what is searched: model, data, space, limits, seed (class `Settings`); a copy
                    lies in trials/
    baseline.json   the uncompressed model's numbers
    about.json      what MLflow tells of the search: how it was started, data, serving
    task.json       what tells the task's data from others: numbers and batches
    trials/0007/    a trial: model.acz and trial.json, and where latency counts model.onnx;
                    `trials/baseline/` the uncompressed model
    test.json       the metric on test data, for members of the front
    result.json     the outcome, as `autocompress search --json` prints it
    openings.json   what the search begins with, and what it should reach
    weights.json    what was found in the model
    noise.json      of the nearest plan, where none keeps the limits, how exactly it is measured
    recovered/      the best plan fine-tuned (tuned-*, recovered-*), and its control: model.acz,
                    trial.json, method.json, how, and training.json, how it went
    front.{csv,png,html}, report.md, progress.png
    optuna.journal, and study.jsonl, from which it is made anew where it is lost
    mlflow.db, mlartifacts/
    tracking.json   the server of MLflow's record, and the search's key there; a copy in trials/
    *.damaged       what was found damaged and has been made anew
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from autocompress.artifact import open_artifact
from autocompress.errors import ArtifactError, SearchError
from autocompress.outcome.contenders import Contender
from autocompress.outcome.prospects import Curve
from autocompress.outcome.results import TrialResult
from autocompress.outcome.tracks import METHOD, Method
from autocompress.outcome.training import TRAINING, TrainingLog
from autocompress.searching.claim import claimed
from autocompress.searching.ledger import LEDGER, Ledger
from autocompress.searching.results import DamagedError, Results, put_aside_if_damaged, read_result
from autocompress.searching.settings import Settings
from autocompress.support.files import kept_json, numbers, parsed_json, put_aside, write_json
from autocompress.support.signals import interrupts_held

TRIAL, ARTIFACT = "trial.json", "model.acz"
SETTINGS, COPY = "search.json", "trials/search.json"
CONTROL = "control"
BASELINE, TESTS = "baseline.json", "test.json"
WEIGHTS, NOISE = "weights.json", "noise.json"
TRACKING = ("tracking.json", "trials/tracking.json")
OPENINGS = ("openings.json", "openings-recovery.json")


class SearchFolder:
    """Reads and writes the files of one search."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._results = Results()

    @property
    def ledger(self) -> Ledger:
        """What was asked, and came of it."""
        return Ledger(self.path / LEDGER)

    def contenders(self) -> tuple[Contender, ...]:
        """Return the models that are searched, where they are several."""
        return ()

    def model_of(self, number: int | None) -> str | None:
        """Return which of several models a trial is of, or with None the baseline."""
        del number
        return None

    def claimed(self) -> AbstractContextManager[None]:
        """Create the folder and keep other searches out while this one runs.

        Raises:
            SearchError: If the folder cannot be written, if something else lies there, or if
                another process searches in it.
        """
        return claimed(self.path, (SETTINGS, COPY))

    def adopt(self, settings: Settings) -> None:
        """Write the settings into a new folder, or make sure that the folder's are equal.

        Raises:
            SearchError: If the folder holds another search; the message names the difference.
        """
        known = self.check(settings) or settings
        for name in (COPY, SETTINGS):
            path = self.path / name
            if _settings(path) is None:
                if path.is_dir():
                    put_aside(path, IsADirectoryError("it is a folder"))
                write_json(path, known.model_dump())

    def check(self, settings: Settings) -> Settings | None:
        """Make sure that the folder holds no other search; return the settings of one.

        Raises:
            SearchError: If it does; the message names the difference.
        """
        known = self._known_settings()
        if known is None:
            return None
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
        return known

    def _known_settings(self) -> Settings | None:
        """Return what the search is about; None for a new one. Damaged files are put aside.

        Raises:
            SearchError: If there are trials, but nothing says of which search.
        """
        for name in (SETTINGS, COPY):
            known = kept_json(self.path / name, Settings.model_validate)
            if known is not None:
                return Settings.model_validate(known)
        if self.artifact(None).exists() or any((self.path / "trials").glob(f"[0-9]*/{TRIAL}")):
            raise SearchError(
                f"'{self.path}' holds trials, but '{SETTINGS}', which says of what search, is "
                "lost; restore it from a copy, or delete the folder, or choose another --out"
            )
        return None

    def settings(self) -> Settings:
        """Read what the search is about.

        Raises:
            SearchError: If the folder holds no search, or the file is damaged.
        """
        for name in (SETTINGS, COPY):
            known = _settings(self.path / name)
            if known is not None:
                return known
        if (self.path / SETTINGS).exists():
            raise SearchError(
                f"'{self.path / SETTINGS}' is damaged; restore it from a copy, or choose another "
                "--out to search anew"
            )
        raise SearchError(
            f"'{self.path}' holds no search; `autocompress search --out` makes such a folder"
        )

    def heal(self) -> None:
        """Put aside what is damaged and can be made anew.

        Raises:
            SearchError: If a plan needs a method that is not there.
        """
        for name, read in ((BASELINE, self.baseline), (TESTS, self.test_scores)):
            put_aside_if_damaged(self.path / name, read)
        for pattern in ("trials/[0-9]*", "recovered/*"):
            for path in sorted(self.path.glob(f"{pattern}/{TRIAL}")):
                put_aside_if_damaged(path, lambda path=path: self._results.read(path))  # type: ignore[misc]
        for path in sorted(self.path.glob(f"recovered/*/{TRIAL}")):
            try:
                open_artifact(path.with_name(ARTIFACT))
            except ArtifactError as error:
                put_aside(path, error)  # the numbers of a file that is no more

    def artifact(self, number: int | None) -> Path:
        """Return the path of a trial's artifact, or with None of the baseline's."""
        return self._trial("baseline" if number is None else f"{number:04d}") / ARTIFACT

    def save_trial(self, result: TrialResult) -> None:
        """Make a result durable; it is there whole or not at all."""
        write_json(self.artifact(result.number).with_name(TRIAL), result.to_json())

    def trial(self, number: int) -> TrialResult | None:
        """Return a finished trial, or None if it did not finish."""
        return self._results.read(self.artifact(number).with_name(TRIAL))

    def trials(self) -> list[TrialResult]:
        """Return all finished trials by number."""
        paths = (self.path / "trials").glob(f"[0-9]*/{TRIAL}")
        numbers = sorted(int(path.parent.name) for path in paths)
        return [result for number in numbers if (result := self.trial(number))]

    def baseline(self) -> dict[str, float] | None:
        """Return the uncompressed model's numbers, or None before they were measured."""
        path = self.path / BASELINE
        if not path.exists():
            return None
        values = self._read(BASELINE)
        missing = self.settings().directions.keys() - values.keys()
        if missing:
            raise DamagedError(path, ValueError(f"it lacks {', '.join(sorted(missing))}"))
        return values

    def save_baseline(self, values: Mapping[str, float]) -> None:
        """Keep the uncompressed model's numbers."""
        write_json(self.path / BASELINE, values)

    def curve(self) -> Curve | None:
        """Return what plans should reach, as it was predicted; None where nothing was."""
        for name in OPENINGS:
            try:
                document = parsed_json((self.path / name).read_text(encoding="utf-8"))
                return Curve.from_json(document["curve"])
            except (OSError, ValueError, LookupError, TypeError):
                continue  # none yet, or of an earlier version
        return None

    def understood(self) -> dict[str, Any] | None:
        """Return what was found in the model, or None where no version has written it."""
        known: dict[str, Any] | None = kept_json(self.path / WEIGHTS, lambda one: one["weights"])
        return known

    def noise(self, artifact: Path) -> float | None:
        """Return the standard error of a file's change of the metric, or None if not known."""
        known = kept_json(self.path / NOISE, numbers) or {}
        return known.get(self._named(artifact))

    def save_noise(self, artifact: Path, error: float) -> None:
        """Keep the standard error of a file's change of the metric."""
        write_json(self.path / NOISE, {self._named(artifact): error})

    def recovered(self, name: str, key: str) -> Path:
        """Return the path of a fine-tuned artifact.

        Args:
            name: "tuned", "recovered" or their "control".
            key: Of the settings of the fine-tuning.
        """
        return self.path / "recovered" / f"{name}-{key}" / ARTIFACT

    def all_recovered(self, name: str) -> Iterator[tuple[Path, TrialResult]]:
        """Yield the paths of all fine-tuned artifacts that are finished, with their numbers."""
        for path in sorted((self.path / "recovered").glob(f"{name}-*/{TRIAL}")):
            yield path.with_name(ARTIFACT), read_result(path)

    def method(self, artifact: Path) -> Method:
        """Return how an artifact was fine-tuned; all is recovery of which nothing is known."""
        document = kept_json(artifact.with_name(METHOD), Method.from_json)
        if document is not None:
            return Method.from_json(document)
        return Method("tuned" if artifact.parent.name.startswith("tuned-") else "recovered")

    def training(self, artifact: Path) -> TrainingLog | None:
        """Return how the fine-tuning of an artifact went, as far as that is known."""
        document = kept_json(artifact.with_name(TRAINING), TrainingLog.from_json)
        return None if document is None else TrainingLog.from_json(document)

    def test_scores(self) -> dict[Path, float]:
        """Return the metric on test data by the path of the artifact."""
        scores = self._read(TESTS) if (self.path / TESTS).exists() else {}
        return {self.path / name: score for name, score in scores.items()}

    def save_test_scores(self, scores: Mapping[Path, float]) -> None:
        """Keep the metric on test data."""
        named = {self._named(path): score for path, score in scores.items()}
        write_json(self.path / TESTS, named)

    def _named(self, path: Path) -> str:
        """Return how files of the folder name another one, on all systems alike."""
        return path.relative_to(self.path).as_posix()

    def _trial(self, name: str) -> Path:
        return self.path / "trials" / name

    def _read(self, name: str) -> dict[str, float]:
        path = self.path / name
        try:
            return numbers(parsed_json(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise DamagedError(path, error) from error


def _settings(path: Path) -> Settings | None:
    try:
        with interrupts_held():
            return Settings.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
