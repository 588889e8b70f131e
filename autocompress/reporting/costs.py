"""Where the bytes of a file go, weight by weight, and what each weight is predicted to cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autocompress.artifact import Artifact
from autocompress.outcome.limits import format_bytes

_BYTES = 4  # of a number in single precision
_BAR, _LEAST_BAR = 24, 6
_NUMBERS, _SHARE = " " * 30, " " * 8  # what stands before the first bar, and between the two


@dataclass(frozen=True)
class WeightCost:
    """What one weight costs.

    Attributes:
        name: Of the weight.
        before: Bytes in single precision.
        after: Bytes in the file.
        bits: Eight times the bytes in the file over the number of elements.
        rise: By how much the loss should rise for the errors in it, or None where not known.
        method: How it is stored.
    """

    name: str
    before: int
    after: float
    bits: float
    rise: float | None
    method: str


def weight_costs(
    artifact: Artifact, rises: Mapping[str, float] | None = None
) -> tuple[WeightCost, ...]:
    """Return what the weights of a file cost, the most bytes first.

    Args:
        artifact: The file.
        rises: By weight, the predicted rise of the loss, as a trial has them.
    """
    known = rises or {}
    found = [
        WeightCost(
            name=line.name,
            before=_BYTES * math.prod(line.shape),
            after=line.size_bytes,
            bits=line.bits_per_weight,
            rise=known.get(line.name),
            method=line.method,
        )
        for line in artifact.report()
    ]
    return tuple(sorted(found, key=lambda cost: -cost.after))


def most(costs: Sequence[WeightCost], count: int) -> tuple[WeightCost, ...]:
    """Return those of the most bytes, and all others together as the last."""
    kept, rest = costs[: count - 1], costs[count - 1 :]
    if len(rest) <= 1:
        return tuple(costs)
    before, after = sum(one.before for one in rest), sum(one.after for one in rest)
    rises = [one.rise for one in rest if one.rise is not None]
    bits = 8 * after / (before / _BYTES)
    others = WeightCost(
        f"{len(rest)} others", before, after, bits, sum(rises) if rises else None, ""
    )
    return (*kept, others)


def cost_lines(
    costs: Sequence[WeightCost], block: str = "█", width: int | None = None
) -> list[str]:
    """Write a bar chart as lines of plain text: bytes, and the predicted loss where known.

    Args:
        costs: What to show, in order.
        block: The character that bars are made of.
        width: How many characters a line may have, as far as bars can be shortened for that.
    """
    if not costs:
        return []
    names = max(len("weight"), *(len(one.name) for one in costs))
    has_rises = any(one.rise for one in costs)
    room = _BAR
    if width is not None:
        left = width - names - len(_NUMBERS)
        room = min(max((left - len(_SHARE)) // 2 if has_rises else left, _LEAST_BAR), _BAR)
    title = f"{'weight':{names}}  {'before':>9} {'after':>9} {'bits':>5}  {'bytes':{room}}"
    lines = [f"{title}  loss, predicted" if has_rises else title.rstrip()]
    most_bytes = max(one.after for one in costs)
    loss = sum(one.rise or 0.0 for one in costs)
    for one in costs:
        size = f"{format_bytes(one.before):>9} {format_bytes(one.after):>9} {one.bits:5.2f}"
        line = f"{one.name:{names}}  {size}  {_bar(one.after / most_bytes, block, room):{room}}"
        if has_rises:
            share = (one.rise or 0.0) / loss
            line += f"  {100 * share:3.0f} % {_bar(share, block, room)}"
        lines.append(line.rstrip())
    return lines


def _bar(share: float, block: str, room: int) -> str:
    return block * max(round(room * share), 1 if share > 0 else 0)
