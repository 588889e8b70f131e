"""What a hyper-parameter means to a search: markers in the annotation of its field.

As in `step: Annotated[float, Field(gt=0), Scaled(1)]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel


@dataclass(frozen=True)
class Share:
    """In a search space, a float stands for that share of min(rows, cols), at least 1."""


@dataclass(frozen=True)
class Scaled:
    """Goes with the scale of all steps of a plan.

    Attributes:
        power: A scale s of the steps multiplies the hyper-parameter by s^power.
    """

    power: float


@dataclass(frozen=True)
class Priced:
    """Is set by the price of a bit: the price over the sensitivity of the weight."""


_Marker = TypeVar("_Marker", Share, Scaled, Priced)


def marker(method: type[BaseModel], field: str, kind: type[_Marker]) -> _Marker | None:
    """Return the marker of a kind that a hyper-parameter has, if any."""
    info = method.model_fields.get(field)
    found = [] if info is None else [one for one in info.metadata if isinstance(one, kind)]
    return found[0] if found else None
