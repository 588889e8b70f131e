"""What made a plan: the sampler, or one of the openings of a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

SAMPLER = "sampler"
LAST_RESORT = "last resort"
"""The family of what is tried where nothing else keeps a limit on the rise of the metric."""


@dataclass(frozen=True)
class Aim:
    """What an opening was aimed at.

    Attributes:
        of: A "size" in bytes, a "rise" of the metric in shares of the baseline, a "price" of a
            bit in units of the loss, or a "scale" of all steps.
        value: How much of it.
        attempt: The how manieth plan of its family with this aim; the later ones follow from
            what the earlier ones have shown.
    """

    of: Literal["size", "rise", "price", "scale"]
    value: float
    attempt: int = 1


class Origin(NamedTuple):
    """What made a plan.

    Attributes:
        label: What to call it.
        family: Of which kind of plans it is one: "allocation", or the name of a uniform plan of
            the search space; None where the sampler made it.
        aim: What it was aimed at; None where the sampler made it.
    """

    label: str
    family: str | None = None
    aim: Aim | None = None


SAMPLED = Origin(SAMPLER)
