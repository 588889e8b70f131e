"""The trellis of dependent quantization: which levels an element may take after those before it.

Of a row, each element is quantized either to even multiples of a step, or to odd ones and zero;
which of the two, says a state, and the parity of the level's index leads on to the next state. The
denser levels of all paths together lie closer to what is to be stored than those of one quantizer
with as many bits [1].

References:
    [1] M. Marcellin, T. Fischer. Trellis Coded Quantization of Memoryless and Gauss-Markov
        Sources. IEEE Transactions on Communications 1990.
    [2] G. Ungerboeck. Channel Coding with Multilevel/Phase Signals. IEEE Transactions on
        Information Theory 1982, where the code is in table I (h0 = 13, h1 = 04, octal).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from autocompress.support.integers import Integers

STATES = 8
"""In the first half of them levels are even; a row begins in the first of all."""


class OffPathError(ValueError):
    """Integers are no path through the trellis."""


def _next_states(n_states: int, h0: int, h1: int) -> NDArray[np.uint8]:
    """Return the next state by state and parity, of a systematic code with feedback [2].

    The last digit of the code's own register says which levels there are; here it comes first.
    """
    bits, found = n_states.bit_length() - 1, np.zeros((n_states, 2), np.uint8)
    for state in range(n_states):
        odd = state >> (bits - 1)
        register = (state << 1 | odd) & (n_states - 1)
        for parity in (0, 1):
            after = register >> 1 ^ (odd * h0) >> 1 ^ (parity * h1) >> 1
            found[state, parity] = after >> 1 | (after & 1) << (bits - 1)
    return found


NEXT = _next_states(STATES, 0o13, 0o04)
"""The next state, uint8 of shape (states, 2), by state and parity of the index."""


def begun(n_rows: int) -> NDArray[np.uint8]:
    """Return the states in which rows begin."""
    return np.zeros(n_rows, np.uint8)


def is_odd(states: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where levels are zero or odd, not even."""
    odd: NDArray[np.bool_] = states >= STATES // 2
    return odd


def followed(states: NDArray[Any], indices: Integers) -> NDArray[np.uint8]:
    """Return the states after elements whose levels have these indices."""
    found: NDArray[np.uint8] = NEXT[states, indices & 1]
    return found


def indices_of(magnitudes: Integers, odd: NDArray[np.bool_]) -> Integers:
    """Return the index of each level, counted from zero, among those of its quantizer.

    Raises:
        OffPathError: If the quantizer has no such level.
    """
    indices = (magnitudes + odd) >> 1
    if not np.array_equal(levels_of(indices, odd), magnitudes):
        raise OffPathError("a level that the state does not have")
    return indices


def levels_of(indices: Integers, odd: NDArray[np.bool_]) -> Integers:
    """Return the magnitude of each level of an index."""
    levels: Integers = np.maximum(2 * indices - odd, 0)
    return levels
