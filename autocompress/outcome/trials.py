"""Finished trials as values, and the front of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from autocompress.outcome.limits import format_bytes
from autocompress.outcome.metric import Direction, cost
from autocompress.outcome.names import SIZE
from autocompress.outcome.origin import SAMPLER, Aim, Origin
from autocompress.plan import CompressionPlan


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
        rises: The same for each weight, whose sum it is.
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
    rises: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        size = f"{format_bytes(self.size_bytes)}, " if SIZE in self.values else ""
        numbers = (f"{name} {value:.4g}" for name, value in self.values.items() if name != SIZE)
        told = ", ".join(numbers) if self.rejected is None else self.rejected
        return f"<TrialResult {self.number}: {size}{told}; {self.origin}>"

    @property
    def size_bytes(self) -> int:
        """Length of the artifact's file, in bytes."""
        return int(self.values[SIZE])

    def of(self, origin: Origin) -> TrialResult:
        """Return the same, with what made its plan."""
        label, family, aim = origin
        return replace(self, origin=label, family=family, aim=aim)

    def to_json(self) -> dict[str, Any]:
        """Return the result as a JSON object."""
        fields = {name: value for name, value in vars(self).items() if name != "plan"}
        fields["aim"] = None if self.aim is None else asdict(self.aim)
        fields |= {"values": dict(self.values), "rises": dict(self.rises)}
        return {**fields, "plan": self.plan.to_json()}

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


class WithoutFile(NamedTuple):
    """What is known of a trial that failed, or was given up before it was encoded.

    Attributes:
        reason: Why.
        origin: What made its plan, as in `TrialResult`.
        plan: What it was; None where that is not known any more.
    """

    reason: str
    origin: str = SAMPLER
    plan: CompressionPlan | None = None


def pareto_front(
    results: Iterable[TrialResult], directions: Mapping[str, Direction]
) -> list[TrialResult]:
    """Return the feasible trials that no other one beats, by size.

    A trial is beaten by one that is no worse in every objective and better in one; of trials
    equal in all, the earliest stays. The time grows with the number of trials times that of the
    front; with two objectives, hardly with the latter.

    Args:
        results: Finished trials.
        directions: By objective name, whether less or more of it is better.
    """
    results = list(results)
    points = {
        result.number: tuple(cost(result.values[name], way) for name, way in directions.items())
        for result in results
        if result.feasible
    }
    kept: list[tuple[float, ...]] = []
    front: set[int] = set()
    # What beats a point comes before it in this order, and if that is beaten, so is the point.
    for number in sorted(points, key=lambda one: (points[one], one)):
        if not any(_no_worse(rival, points[number]) for rival in reversed(kept)):
            kept.append(points[number])
            front.add(number)
    members = (one for one in results if one.number in front)
    return sorted(members, key=lambda one: (one.size_bytes, one.number))


def _no_worse(rival: Sequence[float], point: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(rival, point, strict=True))
