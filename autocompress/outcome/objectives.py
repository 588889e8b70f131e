"""Objectives and budgets: named numbers with a direction, and limits on them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from autocompress.errors import BudgetError, ObjectiveError

if TYPE_CHECKING:
    from torch import nn

    from autocompress.artifact import Artifact
    from autocompress.plan import CompressionPlan

Direction = Literal["minimize", "maximize"]
Split = Literal["valid", "test"]

SIZE, LATENCY, LATENCY_MS = "size_bytes", "latency", "latency_ms"
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Measured:
    """What an objective may look at: a plan's artifact, and the model reloaded from it.

    Attributes:
        plan: The plan that was carried out.
        path: The artifact's file.
        artifact: That file, opened.
        model: The user's model holding the artifact's weights, in evaluation mode; where latency
            counts, what runs the exported model instead.
    """

    plan: CompressionPlan
    path: Path
    artifact: Artifact
    model: nn.Module


@dataclass(frozen=True)
class Objective:
    """A number to minimise or maximise.

    Attributes:
        name: Its name in results, plots and MLflow; letters, digits, "_" and "-".
        direction: "minimize" or "maximize".
        function: Computes the number from a measured plan.
        limit: What the number must not be worse than, or None.
    """

    name: str
    direction: Direction
    function: Callable[[Measured], float]
    limit: float | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", self.name):
            raise ObjectiveError(
                f"an objective's name consists of letters, digits, '_' and '-', "
                f"but got '{self.name}'"
            )
        if self.direction not in ("minimize", "maximize"):
            raise ObjectiveError(
                f"`direction` of objective '{self.name}' must be 'minimize' or 'maximize', "
                f"but got '{self.direction}'"
            )
        if self.limit is not None and not math.isfinite(self.limit):
            raise ObjectiveError(
                f"`limit` of objective '{self.name}' must be finite, but got {self.limit}"
            )

    def measure(self, measured: Measured) -> float:
        """Compute the number.

        Raises:
            ObjectiveError: If the function returned something else than a finite number.
        """
        result = self.function(measured)
        try:
            value = float(result)
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        if not math.isfinite(value):
            raise ObjectiveError(
                f"objective '{self.name}' must be a finite number, but is {result!r} "
                f"for {measured.path.name}"
            )
        return value


@dataclass(frozen=True)
class Limit:
    """What an objective must not be worse than.

    Attributes:
        bound: The limit itself, in the unit of the objective.
        direction: Whether less or more of the objective is better.
    """

    bound: float
    direction: Direction = "minimize"

    def excess(self, value: float) -> float:
        """Return by how much a value is worse, in shares of the limit; at most 0 if it is kept.

        In units of the objective where the limit is 0.
        """
        distance = value - self.bound if self.direction == "minimize" else self.bound - value
        return distance / abs(self.bound) if self.bound else distance


def excesses(values: Mapping[str, float], limits: Mapping[str, Limit]) -> dict[str, float]:
    """Return the excess over each limit whose objective was measured."""
    return {name: limit.excess(values[name]) for name, limit in limits.items() if name in values}


def rise_limit(baseline: float, max_rise: float, direction: Direction) -> Limit:
    """Return the limit on a metric that may become worse by a share of its baseline."""
    worse = 1 if direction == "minimize" else -1
    return Limit(baseline + worse * max_rise * abs(baseline), direction)


def parse_rise(text: str | float) -> float:
    """Understand "1%", "0.5 %" and "0%" as 0.01, 0.005 and 0; a number is taken as it is.

    Raises:
        BudgetError: If it is neither, or below 0.
    """
    if isinstance(text, str):
        match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*", text)
        if match is None:
            raise BudgetError(f"a rise is a percentage such as 1% or 0.5%, but got '{text}'")
        return float(match.group(1)) / 100
    if not (math.isfinite(text) and text >= 0):
        raise BudgetError(f"`max_rise >= 0` must hold, but got {text}")
    return float(text)


def parse_seconds(text: str) -> float:
    """Understand "90s", "10m" and "1.5h".

    Raises:
        BudgetError: If the text is no time, or the time is zero.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([smh])\s*", text)
    seconds = float(match.group(1)) * _SECONDS[match.group(2)] if match else 0.0
    if not seconds > 0:
        raise BudgetError(f"a time is a number with s, m or h, such as 10m, but got '{text}'")
    return seconds


def size_objective() -> Objective:
    """Return the size objective: the length of the artifact's file in bytes."""
    return Objective(SIZE, "minimize", lambda measured: measured.artifact.size_bytes)


@dataclass(frozen=True)
class Budget:
    """A limit on the size of the artifact's file, in bytes."""

    limit_bytes: int

    @classmethod
    def parse(cls, text: str | int | Budget) -> Budget:
        """Understand "2MB", "1.5 MB", "800kB", "2MiB" (2^20 bytes) or a number of bytes.

        Raises:
            BudgetError: If the text is no size, or the size is below one byte.
        """
        if isinstance(text, Budget):
            return text
        match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", str(text))
        unit = match.group(2).upper() if match else ""
        if match is None or unit not in _UNITS:
            raise BudgetError(f"a budget is a size such as 2MB, 800kB or 2MiB, but got '{text}'")
        limit = int(Fraction(match.group(1)) * _UNITS[unit])
        if limit < 1:
            raise BudgetError(f"`budget >= 1 byte` must hold, but got '{text}'")
        return cls(limit)

    def excess(self, size_bytes: int) -> float:
        """Return by how much a size is above the limit, in shares of it; at most 0 if it fits."""
        return size_bytes / self.limit_bytes - 1

    def __str__(self) -> str:
        return format_bytes(self.limit_bytes)


@dataclass(frozen=True)
class LatencyBudget:
    """A limit on the time that a word takes in ONNX Runtime.

    Attributes:
        limit: The limit itself.
        unit: "x" for times what the uncompressed model takes there, or "ms".
    """

    limit: float
    unit: Literal["x", "ms"]

    @classmethod
    def parse(cls, text: str) -> LatencyBudget:
        """Understand "0.25x" and "0.1ms".

        Raises:
            BudgetError: If the text is neither, or zero.
        """
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(x|ms)\s*", text)
        limit = float(match.group(1)) if match else 0.0
        if match is None or not limit > 0:
            raise BudgetError(
                "a latency budget is a share of the uncompressed model's time such as 0.25x, or "
                f"a time such as 0.1ms, but got '{text}'"
            )
        return cls(limit, "x" if match.group(2) == "x" else "ms")

    def ratio(self, uncompressed_ms: float) -> float:
        """Return the limit as a share of what the uncompressed model takes."""
        return self.limit if self.unit == "x" else self.limit / uncompressed_ms

    def __str__(self) -> str:
        return f"{self.limit:g}{self.unit}"


def format_bytes(size_bytes: float) -> str:
    """Write a size in decimal units, as in "1.98 MB"."""
    for factor, unit in ((10**6, "MB"), (10**3, "kB")):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.4g} {unit}"
    return f"{size_bytes:.0f} B"
