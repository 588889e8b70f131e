"""Logarithms and probabilities in whole numbers, exactly the same on every machine."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

LIMIT = 4096
"""Counts from here on are halved."""
FARTHEST = 4095
"""Odds are told apart up to 2^16 to 1: logarithms of base 2, in parts of 1/256."""
_FIRST_ODDS = 10  # a decision that never was counts as a tenth of one that was


@cache
def log_odds() -> NDArray[np.int64]:
    """Return floor(256 log2(10 n + 1)) for n from 0 to 2 LIMIT - 1."""
    numbers = _FIRST_ODDS * np.arange(2 * LIMIT) + 1
    last = 256 * int(numbers[-1]).bit_length()
    # The smallest whole numbers whose logarithms are at least 1, 2, ... parts of 1/256.
    steps = [-(-_power(part) // 2**32) for part in range(1, last)]
    return np.searchsorted(np.array(steps), numbers, "right").astype(np.int64)


@cache
def probabilities() -> NDArray[np.int64]:
    """Return floor(2^16 o / (1 + o)), at least 1, of the odds o = 2^(i / 256).

    Of shape (2 FARTHEST + 1,), for i from -FARTHEST to FARTHEST.
    """
    found = []
    for part in range(-FARTHEST, FARTHEST + 1):
        odds, one = _power(part + 16 * 256), 2**48
        found.append(max(2**16 * odds // (odds + one), 1))
    return np.array(found, np.int64)


def _power(part: int) -> int:
    """Return floor(2^(32 + f / 256)) 2^w for `part` = 256 w + f, with f from 0 to 255."""
    whole, fraction = divmod(part, 256)
    return _roots()[fraction] << whole


@cache
def _roots() -> list[int]:
    roots = []
    for fraction in range(256):
        number = 1 << 32 * 256 + fraction
        for _ in range(8):
            number = math.isqrt(number)
        roots.append(number)
    return roots
