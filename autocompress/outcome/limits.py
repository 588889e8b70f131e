"""Limits: bounds on objectives, as a user writes them and as results are held to them.

A search has one mapping from the name of an objective to its limit. Those that are relative to
the uncompressed model, a rise in percent or a time in milliseconds, become absolute by `resolved`
once that model is measured.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from autocompress.errors import BudgetError
from autocompress.outcome.metric import Direction, cost, distance, worse_by
from autocompress.outcome.names import LATENCY, LATENCY_MS, SIZE
from autocompress.outcome.numbers import is_number

BYTES, TIMES, MILLISECONDS, RISE, WORSE = "B", "x", "ms", "rise", "worse"
"""Units: bytes, times the uncompressed model, a time; what may be lost of the metric, in shares
of the baseline, and in the metric's own unit."""

Rise = float | str
"""How much worse the metric may become: 0.01 is 1 % of the baseline, "+0.02" and "0.5ppl" are in
its unit."""

_SIZES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_SIZES |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_DECIMAL = r"[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"
_NAME = r"[A-Za-z][A-Za-z0-9_-]*"
_SHORT = {"ppl": "perplexity", "acc": "accuracy"}
_SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Limit:
    """What an objective must not be worse than.

    Attributes:
        bound: The limit itself, in its unit; with `RISE`, 0.01 is 1 %. With `WORSE` it is the
            difference from the baseline, at least 0.
        direction: Whether less or more of the objective is better.
        unit: That of the objective, or another one in which it was asked for.
    """

    bound: float
    direction: Direction = "minimize"
    unit: str = ""

    def excess(self, value: float) -> float:
        """Return by how much a value is worse, in shares of the limit; at most 0 if it is kept.

        In units of the objective where the limit is 0.
        """
        excess = distance(value, self.bound, self.direction)
        return excess / abs(self.bound) if self.bound else excess

    def __str__(self) -> str:
        if self.unit == BYTES:
            return format_bytes(self.bound)
        if self.unit == RISE:
            return f"{100 * self.bound:g} %"
        return f"{self.bound:g}{'' if self.unit == WORSE else self.unit}"


def excesses(values: Mapping[str, float], limits: Mapping[str, Limit]) -> dict[str, float]:
    """Return the excess over each limit whose objective was measured."""
    return {name: limit.excess(values[name]) for name, limit in limits.items() if name in values}


def asked_limits(
    directions: Mapping[str, Direction],
    metric: str,
    budget_bytes: int | None,
    max_rise: Rise | None,
    further: Mapping[str, float],
) -> dict[str, Limit]:
    """Gather the limits of a search in one mapping, those relative to the baseline as they are.

    Args:
        directions: By objective name, whether less or more of it is better.
        metric: Name of the task's metric.
        budget_bytes: The limit on the size, or None.
        max_rise: How much worse the metric may become, or None.
        further: Bounds on other objectives, by name, in their own units.
    """
    limits = {name: Limit(bound, directions[name]) for name, bound in further.items()}
    if max_rise is not None:
        limits[metric] = replace(parse_rise(max_rise), direction=directions[metric])
    if budget_bytes is not None:
        limits[SIZE] = Limit(budget_bytes, unit=BYTES)
    return limits


def resolved(limits: Mapping[str, Limit], baseline: Mapping[str, float]) -> dict[str, Limit]:
    """Turn limits that are relative to the uncompressed model into absolute ones.

    Args:
        limits: By the name of the objective.
        baseline: The uncompressed model's numbers.
    """
    return {name: _resolved(limit, name, baseline) for name, limit in limits.items()}


def rise_in_shares(limit: Limit, baseline: float) -> float:
    """Return how much worse the metric may become in the unit of `rise_unit`."""
    return limit.bound / rise_unit(baseline) if limit.unit == WORSE else limit.bound


def rise_unit(baseline: float) -> float:
    """Return in what rises of the metric are counted: the baseline, or one where that is 0."""
    return abs(baseline) or 1.0


def _resolved(limit: Limit, name: str, baseline: Mapping[str, float]) -> Limit:
    if limit.unit == WORSE:
        return Limit(baseline[name] + cost(limit.bound, limit.direction), limit.direction)
    if limit.unit == RISE:
        bound = worse_by(baseline[name], limit.bound, limit.direction)
        return Limit(bound, limit.direction)
    if name == LATENCY and limit.unit == MILLISECONDS:
        return Limit(limit.bound / baseline[LATENCY_MS], limit.direction, TIMES)
    return limit


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
        return text if isinstance(text, Budget) else cls(parse_size(text))

    @property
    def limit(self) -> Limit:
        """The same as a limit on the objective."""
        return Limit(self.limit_bytes, unit=BYTES)

    def __str__(self) -> str:
        return format_bytes(self.limit_bytes)


def parse_size(text: str | int) -> int:
    """Understand "2MB", "1.5 MB", "800kB", "2MiB" (2^20 bytes) or a number, in bytes.

    Raises:
        BudgetError: If the text is no size, or the size is below one byte.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", str(text))
    unit = match.group(2).upper() if match else ""
    if match is None or unit not in _SIZES or isinstance(text, bool):
        raise BudgetError(f"a budget is a size such as 2MB, 800kB or 2MiB, but got '{text}'")
    limit = int(Fraction(match.group(1)) * _SIZES[unit])
    if limit < 1:
        raise BudgetError(f"`budget >= 1 byte` must hold, but got '{text}'")
    return limit


def parse_rise(text: Rise | Limit, metric: str | None = None) -> Limit:
    """Understand "1%" and 0.01, of the baseline; "+0.02" and "0.5ppl", in the metric's unit.

    Args:
        text: The rise as it was asked for.
        metric: Name of the task's metric, which a unit in letters must name; None if that is not
            known yet.

    Raises:
        BudgetError: If it is none of these, below 0, or in the unit of another metric.
    """
    if isinstance(text, Limit):
        return text
    if isinstance(text, str):
        match = re.fullmatch(rf"\s*(\+?)\s*({_DECIMAL})\s*(%|{_NAME})?\s*", text)
        plus, amount, unit = match.groups("") if match else ("", "0", "")
        if not (plus or unit):
            raise BudgetError(
                "a rise is a percentage of the uncompressed model's metric such as 1%, or a "
                "difference in its own unit, with a plus or its name, such as +0.02 or 0.5ppl, "
                f"but got '{text}'"
            )
        if unit == "%":
            return Limit(float(amount) / 100, unit=RISE)
        if unit and metric is not None and _SHORT.get(unit.lower(), unit) != metric:
            raise BudgetError(
                f"a rise of '{text}' is in '{unit}', but the metric of the task is '{metric}'; "
                f"state it as a percentage, or as +{amount}"
            )
        return Limit(float(amount), unit=WORSE)
    if not is_number(text) or not (math.isfinite(text) and text >= 0):
        raise BudgetError(
            f"`max_rise >= 0` must hold, 0.01 for 1 %, or a text such as 1% or +0.02, "
            f"but got {text!r}"
        )
    return Limit(float(text), unit=RISE)


def written_rise(limit: Limit) -> Rise:
    """Write a parsed rise so that `parse_rise` reads the same."""
    return f"+{limit.bound!r}" if limit.unit == WORSE else limit.bound


def parse_latency(text: str | Limit) -> Limit:
    """Understand "0.25x", of what the uncompressed model takes, and "0.1ms".

    Raises:
        BudgetError: If the text is neither, or zero.
    """
    if isinstance(text, Limit):
        return text
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(x|ms)\s*", str(text))
    bound = float(match.group(1)) if match else 0.0
    if match is None or not bound > 0:
        raise BudgetError(
            "a latency budget is a share of the uncompressed model's time such as 0.25x, or "
            f"a time such as 0.1ms, but got '{text}'"
        )
    return Limit(bound, unit=match.group(2))


def parse_seconds(text: str) -> float:
    """Understand "90s", "10m" and "1.5h".

    Raises:
        BudgetError: If the text is no time, or the time is zero.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([smh])\s*", str(text))
    seconds = float(match.group(1)) * _SECONDS[match.group(2)] if match else 0.0
    if not seconds > 0:
        raise BudgetError(f"a time is a number with s, m or h, such as 10m, but got '{text}'")
    return seconds


def format_bytes(size_bytes: float) -> str:
    """Write a size in decimal units, as in "1.98 MB"."""
    for factor, unit in ((10**6, "MB"), (10**3, "kB")):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.4g} {unit}"
    return f"{size_bytes:.0f} B"
