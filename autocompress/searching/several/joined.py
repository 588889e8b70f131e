"""The folder of a search of several models, read as if it were that of one.

Knows neither torch nor Optuna, as the folder of one search.

    search.json     what is searched, as for one model; relative limits are those of the reference
    models.json     the models, and what was seen of them before any compression
    schedule.json   which model has the turn, and which were left out
    models/NAME/    the search of one model: a folder like any other search's, without a report
    test.json, result.json, front.{csv,png,html}, report.md, progress.png
                    the front over all models
    mlflow.db, mlartifacts/   all trials
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from autocompress.outcome.contenders import MODELS, Contender, number_of, own_number
from autocompress.outcome.limits import Limit, excesses, resolved
from autocompress.outcome.prospects import Curve
from autocompress.outcome.results import TrialResult, WithoutFile
from autocompress.searching.folder import TESTS, SearchFolder
from autocompress.searching.ledger import MISFIT, Ledger
from autocompress.searching.results import put_aside_if_damaged
from autocompress.searching.several.schedule import Schedule
from autocompress.support.files import is_plain_name, kept_json, numbers, write_json

KNOWN = "models.json"


@dataclass(frozen=True)
class Seen:
    """What is known of a model before any compression.

    Attributes:
        name: What it is called, which no other one is.
        sha256: Hash of its weights.
        least_bytes: What its smallest file takes without a single weight.
        size_bytes: Length of its file in single precision.
        n_weights: How many numbers its weights have.
        score: The task's metric on validation data.
        batches: Hash of the task's first calibration batches, or None where they differ each time.
    """

    name: str
    sha256: str
    least_bytes: int
    size_bytes: int
    n_weights: int
    score: float
    batches: str | None


class JoinedFolder(SearchFolder):
    """Reads the searches of all models as one; each is written by its own."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        document = kept_json(path / KNOWN, _read)
        self.reference, self.seen = ("", ()) if document is None else _read(document)
        self.members = [SearchFolder(path / MODELS / one.name) for one in self.seen]

    def save_seen(self, reference: str, seen: tuple[Seen, ...]) -> None:
        """Keep what is known of the models, and which one all relative numbers refer to."""
        document = {"reference": reference, "models": [asdict(one) for one in seen]}
        write_json(self.path / KNOWN, document)
        self.reference, self.seen = reference, seen
        self.members = [SearchFolder(self.path / MODELS / one.name) for one in seen]

    @property
    def place(self) -> int:
        """Which of the models is the reference."""
        return next(k for k, one in enumerate(self.seen) if one.name == self.reference)

    def member(self, name: str) -> SearchFolder:
        """Return the folder of a model's own search."""
        return next(
            folder for one, folder in zip(self.seen, self.members, strict=True) if one.name == name
        )

    @property
    def ledger(self) -> Ledger:
        """What was asked of all models, and came of it."""
        return _JoinedLedger(self.path, [member.ledger for member in self.members])

    def contenders(self) -> tuple[Contender, ...]:
        """Return the models."""
        left_out = Schedule.of(self.path).left_out
        return tuple(
            Contender(
                one.name,
                one.size_bytes,
                one.n_weights,
                one.score,
                folder.ledger.n_trials(),
                left_out.get(one.name),
            )
            for one, folder in zip(self.seen, self.members, strict=True)
        )

    def model_of(self, number: int | None) -> str | None:
        """Return which model a trial is of, or with None the baseline."""
        if number is None:
            return self.reference
        return self.seen[own_number(number, len(self.seen))[0]].name

    def heal(self) -> None:
        """Put aside what is damaged and can be made anew, in the searches of the models too."""
        put_aside_if_damaged(self.path / TESTS, self.test_scores)
        for member in self.members:
            member.heal()

    def artifact(self, number: int | None) -> Path:
        """Return the path of a trial's artifact, or with None of the baseline's."""
        if not self.seen:
            return super().artifact(number)
        if number is None:
            return self.members[self.place].artifact(None)
        model, own = own_number(number, len(self.members))
        return self.members[model].artifact(own)

    def trial(self, number: int) -> TrialResult | None:
        """Return a finished trial, or None if it did not finish."""
        model, own = own_number(number, len(self.members))
        result = self.members[model].trial(own)
        return None if result is None else self._joined(model, result, self._limits())

    def trials(self) -> list[TrialResult]:
        """Return all finished trials by number."""
        limits = self._limits()
        found = (
            self._joined(model, result, limits)
            for model, member in enumerate(self.members)
            for result in member.trials()
        )
        return sorted(found, key=lambda one: one.number)

    def numbered(self, name: str, result: TrialResult) -> TrialResult:
        """Return a model's own trial as one of all."""
        model = next(k for k, one in enumerate(self.seen) if one.name == name)
        return self._joined(model, result, self._limits())

    def number(self, name: str, own: int) -> int:
        """Return the number of a model's own trial among those of all models."""
        model = next(k for k, one in enumerate(self.seen) if one.name == name)
        return number_of(own, model, len(self.seen))

    def _joined(self, model: int, result: TrialResult, limits: Mapping[str, Limit]) -> TrialResult:
        """Number a trial among all, and judge it by the limits of all."""
        measured = result.rejected is None and limits.keys() <= result.values.keys()
        kept = measured and max(excesses(result.values, limits).values(), default=0.0) <= 0
        return replace(
            result, number=number_of(result.number, model, len(self.members)), feasible=kept
        )

    def _limits(self) -> dict[str, Limit]:
        baseline = self.baseline()
        return {} if baseline is None else resolved(self.settings().asked, baseline)

    def baseline(self) -> dict[str, float] | None:
        """Return the numbers of the reference, or None before they were measured."""
        return self.members[self.place].baseline() if self.seen else None

    def curve(self) -> Curve | None:
        """Return nothing: predictions are of one model."""
        return None

    def understood(self) -> dict[str, Any] | None:
        """Return nothing: what was found in a model lies in its own folder."""
        return None

    def all_recovered(self, name: str) -> Iterator[tuple[Path, TrialResult]]:
        """Yield the paths of all fine-tuned artifacts that are finished, with their numbers."""
        for model, member in enumerate(self.members):
            for path, result in member.all_recovered(name):
                yield path, self._joined(model, result, {})


class _JoinedLedger(Ledger):
    """The ledgers of several models, read as one."""

    def __init__(self, path: Path, ledgers: list[Ledger]) -> None:
        super().__init__(path)
        self._ledgers = ledgers

    def n_trials(self) -> int:
        """Return how many trials have ended."""
        return sum(one.n_trials() for one in self._ledgers)

    def given_up(self) -> dict[int, WithoutFile]:
        """Return what is known of trials that were given up, or failed, by their numbers."""
        return {
            number_of(own, model, len(self._ledgers)): why
            for model, ledger in enumerate(self._ledgers)
            for own, why in ledger.given_up().items()
        }


def lacks_something(folder: SearchFolder) -> bool:
    """Whether files are lost that going on with the search of one model makes anew."""
    entries, results = folder.ledger.entries(), folder.trials()
    known = {one.number for one in results}
    measured = {
        number for number, entry in entries.items() if MISFIT not in entry.get("user_attrs", ())
    } - folder.ledger.given_up().keys()
    return (
        bool(measured - known)
        or bool(known - entries.keys())
        or any(not folder.artifact(number).is_file() for number in known)
    )


def folder_at(path: Path) -> SearchFolder:
    """Return the folder of a search, of one model or of several."""
    return JoinedFolder(path) if (path / KNOWN).is_file() else SearchFolder(path)


def _read(document: Any) -> tuple[str, tuple[Seen, ...]]:
    """Read what `save_seen` wrote.

    Raises:
        TypeError, LookupError, ValueError: If it is something else.
    """
    seen = tuple(Seen(**one) for one in document["models"])
    numbers({f"{one.name}.{key}": getattr(one, key) for one in seen for key in _NUMBERS})
    if not all(is_plain_name(one.name) for one in seen):  # each is that of a folder
        raise ValueError("a model has a name that no folder can have")
    if document["reference"] not in [one.name for one in seen]:
        raise ValueError("its reference is none of the models")
    return document["reference"], seen


_NUMBERS = ("least_bytes", "size_bytes", "n_weights", "score")
