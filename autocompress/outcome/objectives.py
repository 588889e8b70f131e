"""Objectives: named numbers with a direction, and the phase of a trial in which each is known."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from autocompress.errors import AutocompressError, ObjectiveError
from autocompress.outcome.limits import BYTES, TIMES, Limit
from autocompress.outcome.metric import Direction
from autocompress.outcome.names import LATENCY, SIZE
from autocompress.outcome.numbers import number_of
from autocompress.support.blame import told

if TYPE_CHECKING:
    from autocompress.outcome.measured import Measured

Split = Literal["valid", "test"]
Phase = Literal["plan", "file", "engine", "model"]
PHASES: tuple[Phase, ...] = get_args(Phase)


@dataclass(frozen=True)
class Objective:
    """A number to minimise or maximise.

    A trial goes phase by phase, from what costs little to what costs much, and ends where a limit
    is missed before the model is scored.

    Attributes:
        name: Its name in results, plots and MLflow; letters, digits, "_" and "-".
        direction: "minimize" or "maximize".
        function: Computes the number from a measured plan.
        limit: What the number must not be worse than, or None.
        phase: From when on it is known: from the "plan" alone; from the "file"; from the
            "engine", which runs the model and times it; or, as metrics, from running the "model".
        unit: What it is measured in, such as "MB"; for people.
    """

    name: str
    direction: Direction
    function: Callable[[Measured], float]
    limit: float | None = None
    phase: Phase = "model"
    unit: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", self.name):
            raise ObjectiveError(
                f"an objective's name consists of letters, digits, '_' and '-', "
                f"but got '{self.name}'"
            )
        for what, known in (("direction", get_args(Direction)), ("phase", PHASES)):
            if getattr(self, what) not in known:
                raise ObjectiveError(
                    f"`{what}` of objective '{self.name}' must be "
                    f"{' or '.join(map(repr, known))}, but got '{getattr(self, what)}'"
                )
        if self.limit is not None and not math.isfinite(self.limit):
            raise ObjectiveError(
                f"`limit` of objective '{self.name}' must be finite, but got {self.limit}"
            )

    def measure(self, measured: Measured) -> float:
        """Compute the number.

        Raises:
            ObjectiveError: If the function raised, returned something else than a finite number,
                or asked for what is not known in its phase.
        """
        try:
            result = self.function(measured)
        except AutocompressError:
            raise  # in one line already
        except (Exception, SystemExit) as error:  # whatever a user's code raises
            raise ObjectiveError(
                f"objective '{self.name}' {told(error)} for {measured.path.name}"
            ) from error
        try:
            value = number_of(result)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ObjectiveError(
                f"objective '{self.name}' must be a finite number, but is {result!r} "
                f"for {measured.path.name}"
            )
        return value

    def missed(self, limit: Limit) -> str:
        """Say that a limit on the number is missed, as in "above 2 MB"."""
        side = "above" if limit.direction == "minimize" else "below"
        text = f"{side} {Limit(limit.bound, limit.direction, self.unit)}"
        return text if self.name == SIZE else f"{self.name} {text}"


def size_objective() -> Objective:
    """Return the size objective: the length of the artifact's file in bytes."""
    return Objective(
        SIZE,
        "minimize",
        lambda measured: measured.artifact.size_bytes,
        phase="file",
        unit=BYTES,
    )


def latency_objective() -> Objective:
    """Return the latency: how long the model takes, in times of the uncompressed one."""
    return Objective(
        LATENCY,
        "minimize",
        lambda measured: measured.values[LATENCY],
        phase="engine",
        unit=TIMES,
    )


def directions_of(objectives: Iterable[Objective]) -> dict[str, Direction]:
    """Return by objective name whether less or more of it is better."""
    return {objective.name: objective.direction for objective in objectives}


def limited(
    objectives: Iterable[Objective], limits: Mapping[str, Limit], phase: Phase
) -> Iterator[tuple[Objective, Limit]]:
    """Yield the objectives of a phase that are limited, with their limits."""
    for objective in objectives:
        if objective.phase == phase and objective.name in limits:
            yield objective, limits[objective.name]
