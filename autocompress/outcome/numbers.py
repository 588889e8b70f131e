"""What counts as a number where a user's own code is to give one."""

from __future__ import annotations

import math
from decimal import Decimal
from numbers import Real
from typing import Any

_SHOWN = 40


def number_of(value: Any) -> float:
    """Return a number as a float: an int, a numpy scalar, a tensor of one element, a decimal.

    Raises:
        ValueError: If it is something else; the message says what.
    """
    shape = getattr(value, "shape", None)
    if shape is not None and callable(getattr(value, "item", None)):
        if math.prod(shape) != 1:
            raise ValueError(f"{_kind(value)} of shape {tuple(shape)}")
        value = value.item()
    if not isinstance(value, Real | Decimal):
        text = repr(value)
        raise ValueError(text if len(text) <= _SHOWN else _kind(value))
    try:
        return float(value)
    except OverflowError:
        raise ValueError("a number that is too large for a float") from None


def is_number(value: Any) -> bool:
    """Whether a value is a plain real number, and not a truth."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    return f"an object of type {type(value).__name__}"
