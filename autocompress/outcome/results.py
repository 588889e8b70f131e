"""What a search found: trials, the front of them, and the document that describes it.

Knows neither torch nor Optuna nor MLflow, so that a finished search is read in an instant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from autocompress.outcome.cautions import cautions
from autocompress.outcome.contenders import Contender
from autocompress.outcome.limits import (
    Limit,
    Rise,
    asked_limits,
    excesses,
    format_bytes,
    resolved,
)
from autocompress.outcome.metric import Direction, change_of, cost, worsening_of
from autocompress.outcome.prospects import Prospect
from autocompress.outcome.scored import ONNX, Scored
from autocompress.outcome.tracks import DONE, TRACKS, Track
from autocompress.outcome.trials import TrialResult, WithoutFile, pareto_front

__all__ = ["ONNX", "Scored", "SearchResult", "TrialResult", "WithoutFile", "pareto_front"]

_LISTS: Mapping[str, Track] = {
    "front": "plain",
    "tuned": "tuned",
    "recovered": "recovered",
    "controls": "recovered",
    "misses": "plain",
}
"""Lists of models, with the track that they have where an earlier version has named none."""
_USELESS: Mapping[Direction, float] = {"minimize": 1.0, "maximize": 0.5}


@dataclass(frozen=True)
class SearchResult:
    """What a search found so far, or at its end.

    Attributes:
        name: What was compressed, such as "ptb-small"; of several models all names.
        metric: Name of the task's metric.
        directions: By objective name, whether less or more of it is better; size comes first,
            the task's metric second.
        budget_bytes: The limit on the size, or None.
        max_rise: How much worse the metric may become: a share of the baseline, a text such as
            "+0.02" in its own unit, or None.
        limits: Bounds on further objectives, by name; on the latency in shares of the baseline's.
        misses: Where none keeps all limits, or only the numbers in half precision or as they
            are do, what misses them by the least, the nearest first.
        noise: Of the nearest: the standard error of the metric's relative change, for a sample
            of data as large as the validation data; None where it is not known.
        prospects: What files of so many times fewer bytes lose, measured or predicted.
        sound: The smallest file that loses at most a tenth of the metric, measured or predicted;
            None where neither is known.
        baseline: The model in single precision, stored and reloaded like every trial; of several
            models the one with the best metric, which all relative numbers refer to.
        best: What to take: of the front and of what was fine-tuned, that with the best metric,
            or with a limit on the rise the smallest; None if none keeps all limits.
        front: The feasible trials that no other one beats, by size.
        recovered: A promising plan after fine-tuning on labels, once for each length of it.
        controls: The uncompressed model after the same fine-tuning, each with its track.
        tuned: A promising plan after tuning without labels, alike.
        trials: Number of finished trials.
        given_up: How many of them were not measured whole, since they failed, missed a limit or
            were clearly worse than others.
        without_file: How many of these have no file.
        smallest_bytes: The smallest file seen, feasible or not; None before the first trial.
        seconds: Wall time spent on the search, interruptions left out.
        models: Of a search of several models these, in the order in which they were handed in; of
            one model nothing.
    """

    name: str
    metric: str
    directions: Mapping[str, Direction]
    budget_bytes: int | None
    baseline: Scored
    best: Scored | None
    front: tuple[Scored, ...]
    trials: int
    smallest_bytes: int | None
    seconds: float
    recovered: tuple[Scored, ...] = ()
    controls: tuple[Scored, ...] = ()
    max_rise: Rise | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    without_file: int = 0
    given_up: int = 0
    misses: tuple[Scored, ...] = ()
    noise: float | None = None
    prospects: tuple[Prospect, ...] = ()
    sound: Prospect | None = None
    tuned: tuple[Scored, ...] = ()
    models: tuple[Contender, ...] = ()

    def __eq__(self, other: object) -> bool:
        """Compare what was found, wherever it lies."""
        if not isinstance(other, SearchResult):
            return NotImplemented
        names = [one.name for one in fields(SearchResult)]
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def __repr__(self) -> str:
        return f"<SearchResult {self.name}: {self.counted}; {self._told()}>"

    def _told(self) -> str:
        scored = self.best or self.nearest
        if scored is None:
            return "nothing is measured yet"
        kind = "best" if self.best else "no plan keeps the limits, nearest"
        value = f"{self.metric} {scored.values[self.metric]:.4g} ({self.change(scored)})"
        size = f"{format_bytes(scored.size_bytes)}, {self.ratio(scored):.1f}x smaller"
        return f"{kind} {self.title(scored)}, {size}, {value}"

    @property
    def fine_tuned(self) -> tuple[Scored, ...]:
        """What was trained in any way, without labels before on labels."""
        return (*self.tuned, *self.recovered)

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks of which something was measured, in order."""
        found = {"plain": self.front, "tuned": self.tuned, "recovered": self.recovered}
        return tuple(track for track in TRACKS if found[track])

    def controls_of(self, track: Track) -> tuple[Scored, ...]:
        """Return the uncompressed models that were fine-tuned as those of a track were."""
        return tuple(one for one in self.controls if one.track == track)

    def best_of_track(self, track: Track) -> Scored | None:
        """Return the best that keeps all limits of one track alone."""
        found = {"plain": self.front, "tuned": self.tuned, "recovered": self.recovered}
        return self.best_of([one for one in found[track] if self.keeps_limits(one)])

    @property
    def nearest(self) -> Scored | None:
        """What misses the limits by the least, where no plan of the search space keeps them."""
        return next(iter(self.misses), None)

    @property
    def measured(self) -> int:
        """Number of trials that were measured whole; all others were given up before."""
        return self.trials - self.given_up

    @property
    def counted(self) -> str:
        """Count the trials, as in "24 trials, 16 measured, 5 on the front"."""
        trials = f"{self.trials} trial{'' if self.trials == 1 else 's'}"
        measured = "all" if self.measured == self.trials else str(self.measured)
        return f"{trials}, {measured} measured, {len(self.front)} on the front"

    def worsening(self, values: Mapping[str, float]) -> float:
        """Return by how much the metric is worse than the baseline's, in shares of it.

        Below zero where it is better; infinite for any change of a baseline of zero.
        """
        baseline = self.baseline.values[self.metric]
        return worsening_of(values[self.metric], baseline, self.directions[self.metric])

    @property
    def ranked(self) -> tuple[Scored, ...]:
        """The front, best first: by the metric, or with a limit on its rise by size."""
        if self.max_rise is not None:
            return self.front
        way = self.directions[self.metric]
        return tuple(sorted(self.front, key=lambda one: cost(one.values[self.metric], way)))

    def is_useless(self, scored: Scored) -> bool:
        """Whether nobody would take it: its metric is twice the baseline's, or half of it."""
        return self.worsening(scored.values) > _USELESS[self.directions[self.metric]]

    def rise(self, scored: Scored) -> float:
        """Return the relative change of the metric against the baseline; 0.01 is +1 %.

        Infinite for any change of a baseline of zero.
        """
        return change_of(scored.values[self.metric], self.baseline.values[self.metric])

    def change(self, scored: Scored) -> str:
        """Write the change of the metric: in percent, or in its own unit from a baseline of 0."""
        baseline = self.baseline.values[self.metric]
        if baseline == 0:
            return f"{scored.values[self.metric]:+.4g}"
        return f"{100 * self.rise(scored):+.2f} %"

    @property
    def bounds(self) -> dict[str, Limit]:
        """All limits by the name of their objective, as absolute bounds."""
        asked = asked_limits(
            self.directions, self.metric, self.budget_bytes, self.max_rise, self.limits
        )
        return resolved(asked, self.baseline.values)

    def miss(self, scored: Scored | TrialResult) -> float:
        """Return by how much a model misses the limit that it misses most, in shares of it."""
        return max(excesses(scored.values, self.bounds).values(), default=0.0)

    def keeps_limits(self, scored: Scored) -> bool:
        """Whether a model keeps all limits."""
        return self.miss(scored) <= 0

    def ratio(self, scored: Scored) -> float:
        """Return how many times smaller than the baseline, in single precision, a file is."""
        return self.baseline.size_bytes / scored.size_bytes

    @property
    def measure(self) -> str:
        """Say what "times smaller" is measured against, whatever the file handed in was."""
        return (
            f"times smaller: against {format_bytes(self.baseline.size_bytes)} in single precision"
        )

    def best_of(self, candidates: Sequence[Scored]) -> Scored | None:
        """Return the candidate with the best metric, or with a limit on its rise the smallest."""
        if self.max_rise is not None:
            return min(candidates, key=lambda scored: scored.size_bytes, default=None)
        way = self.directions[self.metric]
        return min(candidates, key=lambda one: cost(one.values[self.metric], way), default=None)

    def title(self, scored: Scored) -> str:
        """Name a file, as in "trial 7", and "trial 7 of ptb-small, tuned without labels"."""
        of = scored.of_model
        if scored.trial is None and scored not in self.controls:
            return f"baseline{of}"
        done = DONE[scored.track]
        if scored in self.controls:
            return f"uncompressed{of}, {done}"
        return f"trial {scored.trial}{of}{', ' if done else ''}{done}"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document that `autocompress search --json` prints."""
        own = {one.name for one in fields(SearchResult)}  # and not those of a subclass
        document = {name: value for name, value in asdict(self).items() if name in own}
        if not self.models:
            document.pop("models")
        document["directions"] = dict(self.directions)
        document |= {"limits": dict(self.limits), "warnings": list(cautions(self))}
        document |= {"baseline": self.baseline.to_json(self.metric), "measure": self.measure}
        for name in ("best", "nearest"):
            scored = getattr(self, name)
            document[name] = scored.to_json(self.metric) if scored else None
        for name in _LISTS:
            document[name] = [one.to_json(self.metric) for one in getattr(self, name)]
        found = {track: self.best_of_track(track) for track in TRACKS}
        document["best_of_tracks"] = {
            track: None if best is None else best.to_json(self.metric)
            for track, best in found.items()
        }
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SearchResult:
        """Read a document that `to_json` gave."""
        metric = document["metric"]
        scored: dict[str, Any] = {"baseline": Scored.from_json(document["baseline"], metric)}
        for name, track in _LISTS.items():
            entries = document.get(name, ())
            scored[name] = tuple(Scored.from_json(entry, metric, track) for entry in entries)
        known = {one.artifact: one for one in scored["recovered"]}  # of a best without a track
        best = Scored.from_json(document["best"], metric) if document["best"] else None
        scored["best"] = None if best is None else known.get(best.artifact, best)
        scored["prospects"] = tuple(Prospect(**one) for one in document.get("prospects", ()))
        sound = document.get("sound")
        scored["sound"] = Prospect(**sound) if sound else None
        scored["models"] = tuple(Contender(**one) for one in document.get("models", ()))
        values = {**document, **scored}
        for told in ("measure", "warnings", "nearest", "best_of_tracks"):
            values.pop(told, None)
        return cls(**values)
