"""Cheap looks before dear ones: what a plan must not be clearly worse than, and how to see it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from autocompress.encoding.estimates import Outlook
from autocompress.outcome.limits import Limit

EXCESS = 0.25
"""What an estimate from some of the rows is off by at the most, and then some."""

_LOOKS = {8: 5.0, 16: 4.0, 32: 3.0}
"""After so many parts, how many standard errors make a difference clear (p < 0.003 each)."""

_FAR_WORSE = 10.0  # predictions are off by a factor of seven where a rise is next to nothing


@dataclass(frozen=True)
class Hurdle:
    """A measured trial that a plan must not be clearly worse than, to be measured whole.

    Attributes:
        losses: The trial's losses on the first parts of the validation data.
        size_bytes: The hurdle stands for files of at least this size.
        reason: Why a plan that is worse is of no interest.
        predicted: The rise of the loss that was predicted for the trial, or None.
    """

    losses: tuple[float, ...]
    size_bytes: int
    reason: str
    predicted: float | None = None


@dataclass(frozen=True)
class GivenUp:
    """A plan that was given up before it was encoded.

    Attributes:
        number: The trial's number.
        reason: Why.
        excesses: By objective, by how much its limit is missed as far as that is estimated, in
            shares of the limit; at most 0 where it is kept.
    """

    number: int
    reason: str
    excesses: Mapping[str, float]


def foreseen(outlook: Outlook, limit: Limit | None, hurdles: Iterable[Hurdle]) -> str | None:
    """Say why a plan is not worth encoding, or None.

    It is not if its size is estimated to be above the limit by a quarter, or its rise of the loss
    to be ten times that of a hurdle.

    Args:
        outlook: What is estimated of the plan.
        limit: On the size of the file, or None.
        hurdles: Trials that it must not be clearly worse than.
    """
    excess = -1.0 if limit is None else limit.excess(int(outlook.size_bytes))
    if excess > EXCESS:
        return f"estimated to be {100 * excess:.0f} % above the budget"
    for hurdle in hurdles:
        is_larger = outlook.size_bytes > (1 + EXCESS) * hurdle.size_bytes
        is_worse = hurdle.predicted and outlook.loss_rise > _FAR_WORSE * hurdle.predicted
        if is_larger and is_worse:
            return f"predicted to be far {hurdle.reason}"
    return None


def seen(
    parts: Iterable[float], hurdles: Sequence[Hurdle]
) -> tuple[tuple[float, ...], str | None]:
    """Look at the first 8, 16 and 32 parts of the data, until a plan is clearly worse.

    It is if its losses are above those of a hurdle on the same parts by more standard errors of
    the mean difference than chance explains.

    Args:
        parts: The losses of the plan, part by part.
        hurdles: Trials that it must not be clearly worse than.

    Returns:
        The losses that were looked at, and the reason of the hurdle, or None.
    """
    losses: tuple[float, ...] = ()
    further = iter(parts)
    for count, errors in _LOOKS.items():
        losses += tuple(islice(further, count - len(losses)))
        for hurdle in hurdles:
            if len(losses) == count and _clearly_worse(losses, hurdle.losses, errors):
                return losses, hurdle.reason
    return losses, None


def _clearly_worse(losses: Sequence[float], others: Sequence[float], errors: float) -> bool:
    """Tell from losses on the same parts whether the first ones are worse by so many errors."""
    if len(losses) > len(others):
        return False
    differences = np.subtract(losses, others[: len(losses)])
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return float(differences.mean()) > errors * error
