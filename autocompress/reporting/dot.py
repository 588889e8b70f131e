"""A dot in the picture of a front."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dot:
    """One trial in a picture.

    Attributes:
        cost: What it costs, in the unit of the horizontal axis.
        value: Its metric.
        tip: What is told of it when it is pointed at.
        key: Which model it is, as `key_of` names it.
        model: Of several models, that which was compressed.
    """

    cost: float
    value: float
    tip: str
    key: str = ""
    model: str = ""

    @property
    def point(self) -> tuple[float, float]:
        """Cost and metric."""
        return self.cost, self.value
