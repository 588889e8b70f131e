"""Objectives and budgets: named numbers with a direction, and limits on them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
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

SIZE = "size_bytes"
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True)
class Measured:
    """What an objective may look at: a plan's artifact, and the model reloaded from it.

    Attributes:
        plan: The plan that was carried out.
        path: The artifact's file.
        artifact: That file, opened.
        model: The user's model holding the artifact's weights, in evaluation mode.
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
    """

    name: str
    direction: Direction
    function: Callable[[Measured], float]

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


def format_bytes(size_bytes: float) -> str:
    """Write a size in decimal units, as in "1.98 MB"."""
    for factor, unit in ((10**6, "MB"), (10**3, "kB")):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.4g} {unit}"
    return f"{size_bytes:.0f} B"
