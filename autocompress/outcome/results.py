"""What a search found: trials, the front of them, and the document that describes it.

Knows neither torch nor Optuna nor MLflow, so that a finished search is read in an instant.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autocompress.outcome.cautions import cautions
from autocompress.outcome.limits import (
    Limit,
    Rise,
    asked_limits,
    excesses,
    format_bytes,
    resolved,
)
from autocompress.outcome.metric import Direction, change_of, cost
from autocompress.outcome.names import LATENCY, SIZE
from autocompress.outcome.origin import SAMPLER, Aim
from autocompress.plan import CompressionPlan

ONNX = ".onnx"
"""How the name of a model ends that was exported from an artifact, beside it."""


@dataclass(frozen=True)
class TrialResult:
    """What is known of a finished trial.

    Attributes:
        number: Its number in the study.
        plan: The plan that was carried out.
        values: By objective name, and what latency was made of; without the task's metric where
            the trial was rejected, since then not all was measured.
        feasible: Whether all was measured, and within all limits.
        started: When the trial began, in seconds since the epoch.
        seconds: How long it took, in seconds of wall time.
        cpu_seconds: Processor time it took, all threads together.
        rejected: Why the trial was given up before it was measured whole, or None.
        predicted: By how much the loss should rise according to calibration, or None where that
            is not known.
        losses: Losses on the first parts of the validation data, as far as the task tells them.
        origin: What made the plan, for people: "sampler", or the opening that it is.
        family: Of an opening, the kind of plans that it is one of; None of the sampler's.
        aim: Of an opening, what it was aimed at.
    """

    number: int
    plan: CompressionPlan
    values: Mapping[str, float]
    feasible: bool
    started: float
    seconds: float
    cpu_seconds: float
    rejected: str | None = None
    predicted: float | None = None
    losses: tuple[float, ...] = ()
    origin: str = SAMPLER
    family: str | None = None
    aim: Aim | None = None

    @property
    def size_bytes(self) -> int:
        """Length of the artifact's file, in bytes."""
        return int(self.values[SIZE])

    def to_json(self) -> dict[str, Any]:
        """Return the result as a JSON object."""
        fields = {name: value for name, value in vars(self).items() if name != "plan"}
        fields["aim"] = None if self.aim is None else asdict(self.aim)
        return {**fields, "values": dict(self.values), "plan": self.plan.to_json()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> TrialResult:
        """Read a result that `to_json` gave, of an earlier version as well.

        Raises:
            PlanError: If the plan is none.
            TypeError: If a key is missing or unknown.
        """
        plan = CompressionPlan.from_json(document["plan"])
        losses, aim = tuple(document.get("losses", ())), document.get("aim")
        read = {"plan": plan, "losses": losses, "aim": None if aim is None else Aim(**aim)}
        return cls(**{**document, **read})


def pareto_front(
    results: Iterable[TrialResult], directions: Mapping[str, Direction]
) -> list[TrialResult]:
    """Return the feasible trials that no other one beats, by size.

    A trial is beaten by one that is no worse in every objective and better in one; of trials
    equal in all, the earliest stays. O(n^2) in the number of feasible trials.

    Args:
        results: Finished trials.
        directions: By objective name, whether less or more of it is better.
    """
    results = list(results)
    points = {
        result.number: tuple(cost(result.values[name], way) for name, way in directions.items())
        for result in sorted(results, key=lambda result: result.number)
        if result.feasible
    }
    beaten = {
        number
        for number, point in points.items()
        for other, rival in points.items()
        if _beats(rival, point) or (rival == point and other < number)
    }
    front = (r for r in results if r.number in points and r.number not in beaten)
    return sorted(front, key=lambda result: (result.size_bytes, result.number))


def _beats(rival: Sequence[float], point: Sequence[float]) -> bool:
    return rival != point and all(a <= b for a, b in zip(rival, point, strict=True))


@dataclass(frozen=True)
class Scored:
    """A compressed model with its numbers.

    Attributes:
        trial: Number of the trial; None for the baseline, the model in single precision.
        artifact: Its file.
        values: By objective name, measured on validation data.
        test: The task's metric on test data; None while a search is not finished, and where it
            is no finite number.
        label: The treatments, most bytes first, on one line.
    """

    trial: int | None
    artifact: Path
    values: Mapping[str, float]
    test: float | None
    label: str

    @property
    def size_bytes(self) -> int:
        """Length of the file, in bytes."""
        return int(self.values[SIZE])

    @property
    def onnx(self) -> Path | None:
        """The exported model that was measured, where latency counts and the engine writes one."""
        path = self.artifact.with_suffix(ONNX)
        return path if LATENCY in self.values and path.exists() else None

    def to_json(self, metric: str) -> dict[str, Any]:
        """Return the numbers as a JSON object; the metric's names tell the split."""
        values: dict[str, Any] = dict(self.values)
        document = {"trial": self.trial, "artifact": str(self.artifact)}
        document |= {SIZE: self.size_bytes, f"valid_{metric}": values.pop(metric)}
        values.pop(SIZE)
        if self.onnx is not None:
            document["onnx"] = str(self.onnx)
        return {**document, f"test_{metric}": self.test, **values, "label": self.label}

    @classmethod
    def from_json(cls, document: Mapping[str, Any], metric: str) -> Scored:
        """Read numbers that `to_json` gave."""
        values = dict(document)
        values.pop("onnx", None)
        values[metric] = values.pop(f"valid_{metric}")
        test = values.pop(f"test_{metric}")
        test = None if test is None or math.isnan(test) else test  # as earlier versions wrote it
        artifact, trial, label = (values.pop(key) for key in ("artifact", "trial", "label"))
        return cls(trial, Path(artifact), values, test, label)


@dataclass(frozen=True)
class SearchResult:
    """What a search found so far, or at its end.

    Attributes:
        name: What was compressed, such as "ptb-small".
        metric: Name of the task's metric.
        directions: By objective name, whether less or more of it is better; size comes first,
            the task's metric second.
        budget_bytes: The limit on the size, or None.
        max_rise: How much worse the metric may become: a share of the baseline, a text such as
            "+0.02" in its own unit, or None.
        limits: Bounds on further objectives, by name; on the latency in shares of the baseline's.
        nearest: Where none keeps all limits, what misses them by the least.
        baseline: The model in single precision, stored and reloaded like every trial.
        best: What to take: of the front and of what was fine-tuned, that with the best metric,
            or with a limit on the rise the smallest; None if none keeps all limits.
        front: The feasible trials that no other one beats, by size.
        recovered: A promising plan after fine-tuning, once for each length of it.
        controls: The uncompressed model after the same fine-tuning, in the same order.
        trials: Number of finished trials.
        without_file: How many of them have no file, since they failed or were given up before.
        smallest_bytes: The smallest file seen, feasible or not; None before the first trial.
        seconds: Wall time spent on the search, interruptions left out.
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
    nearest: Scored | None = None

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

    def miss(self, scored: Scored) -> float:
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
        """Name one of the models, as in "trial 7" and "trial 7, fine-tuned"."""
        if scored.trial is None:
            return "baseline"
        return f"trial {scored.trial}{', fine-tuned' if scored in self.recovered else ''}"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document that `autocompress search --json` prints."""
        document = {**asdict(self), "directions": dict(self.directions)}
        document |= {"limits": dict(self.limits), "warnings": list(cautions(self))}
        document |= {"baseline": self.baseline.to_json(self.metric), "measure": self.measure}
        for name in ("best", "nearest"):
            scored = getattr(self, name)
            document[name] = scored.to_json(self.metric) if scored else None
        for name in ("front", "recovered", "controls"):
            document[name] = [one.to_json(self.metric) for one in getattr(self, name)]
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SearchResult:
        """Read a document that `to_json` gave."""
        metric = document["metric"]
        scored: dict[str, Any] = {"baseline": Scored.from_json(document["baseline"], metric)}
        for name in ("best", "nearest"):
            entry = document[name]
            scored[name] = Scored.from_json(entry, metric) if entry else None
        for name in ("front", "recovered", "controls"):
            scored[name] = tuple(Scored.from_json(entry, metric) for entry in document[name])
        values = {**document, **scored}
        for told in ("measure", "warnings"):
            values.pop(told, None)
        return cls(**values)
