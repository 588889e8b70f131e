"""What better and worse mean for a number: all arithmetic that depends on a direction."""

from __future__ import annotations

import math
from typing import Literal

Direction = Literal["minimize", "maximize"]


def cost(value: float, direction: Direction) -> float:
    """Return a number of which less is better: the value itself, or its negative."""
    return value if direction == "minimize" else -value


def distance(value: float, reference: float, direction: Direction) -> float:
    """Return by how much a value is worse than another, in its own unit; below 0 if better."""
    return value - reference if direction == "minimize" else reference - value


def worse_by(baseline: float, share: float, direction: Direction) -> float:
    """Return the value that is worse than a baseline by a share of it."""
    return baseline + cost(share * abs(baseline), direction)


def worsening_of(value: float, baseline: float, direction: Direction) -> float:
    """Return by how much a value is worse than a baseline, in shares of it; 0.01 is 1 %.

    Below zero where it is better, whatever the direction. Any change of a baseline of zero is
    infinite.
    """
    return _share(distance(value, baseline, direction), abs(baseline))


def change_of(value: float, baseline: float) -> float:
    """Return the change against a baseline, in shares of it, whichever way is better.

    Any change of a baseline of zero is infinite.
    """
    return value / baseline - 1 if baseline > 0 else _share(value - baseline, -baseline)


def _share(difference: float, whole: float) -> float:
    if whole == 0:
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / whole
