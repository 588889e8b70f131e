"""What magnitude an integer is to be expected to have, by those before it."""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray

N_CONTEXTS = 56
# Probabilities depend on the arithmetic below, so that it is confined to what IEEE 754 rounds
# correctly: sums, products, quotients, and powers of two, in a fixed order.
_BOUNDS = np.array(
    [2.0 ** (half // 2 - 7) * (1, 1.4375)[half % 2] for half in range(N_CONTEXTS - 1)]
)
MEANS = np.array(
    [0.0] + [2.0 ** (i // 4 - 14) * (64, 76, 91, 108)[i % 4] / 64 for i in range(160)]
)
_WINDOW = 16


class Expectation:
    """What magnitude each element of the next column is to be expected to have.

    Args:
        n_rows: Rows of the matrix.
        means: Int64 array of shape (cols,): by column, the index of the mean magnitude.
        prior_columns: How many columns of the mean of all stand in for what a row has not told.
    """

    def __init__(self, n_rows: int, means: NDArray[np.int64], prior_columns: float) -> None:
        self._means = array("d", MEANS[means].tobytes())
        self._prior = prior_columns * sum(self._means) / max(len(self._means), 1)
        self._sums = np.zeros(n_rows, dtype=np.int64)
        self._sum_of_means, self._columns = 0.0, 0
        rows = np.arange(n_rows)
        self._first = np.maximum(rows - _WINDOW, 0)
        self._last = np.minimum(rows + _WINDOW + 1, n_rows)

    def contexts(self, col: int) -> NDArray[np.uint8]:
        """Return the context of each element of a column, uint8 of shape (rows,)."""
        self._sum_of_means += sum(self._means[self._columns : col])
        self._columns = col
        if self._prior == 0:
            return np.zeros(self._sums.size, dtype=np.uint8)
        running = np.concatenate([[0], np.cumsum(self._sums)])
        near = (running[self._last] - running[self._first]) + self._prior
        near = near / ((self._last - self._first) * self._sum_of_means + self._prior)
        ratio = (self._sums + self._prior * near) / (self._sum_of_means + self._prior)
        found = np.searchsorted(_BOUNDS, self._means[col] * ratio, side="right")
        contexts: NDArray[np.uint8] = found.astype(np.uint8)
        return contexts

    def learn(self, magnitudes: NDArray[np.int64]) -> None:
        """Take the magnitudes of a column into account."""
        self._sums += magnitudes


def by_context(contexts: NDArray[np.uint8]) -> tuple[NDArray[np.int64], list[tuple[int, slice]]]:
    """Return the rows sorted by context, and for each context that occurs its slice of them."""
    # Single bytes are sorted by counting, which is several times faster.
    order = np.argsort(contexts, kind="stable")
    ends = np.cumsum(np.bincount(contexts)).tolist()
    starts = [0, *ends[:-1]]
    pairs = enumerate(zip(starts, ends, strict=True))
    return order, [
        (context, slice(first, last)) for context, (first, last) in pairs if first < last
    ]
