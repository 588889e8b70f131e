"""Equal slope: steps so wide that everywhere the next bit would lower the loss by as much."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from autocompress.precisions.base import PRECISIONS, Stream
from autocompress.precisions.grid import ALL, Floats, Grid, Magnitudes, OnGrid
from autocompress.structures.factors import Factor, Matrix, row_blocks
from autocompress.support.integers import AT_ONCE, Growing, Integers

_BLOCK = 64
_FED_BACK_AT_ONCE = 2**21


@PRECISIONS.register("equal_slope")
class EqualSlope(OnGrid):
    """Rounds to steps of which each row and column has its own, and feeds errors back.

    An element is rounded to the level that costs least, errors and bits taken together [2]: the
    level farther from zero is taken if it is the nearer one by enough to pay for its bits.

    Columns are rounded in turn. The error of each is made good by those still to come, as far as
    they multiply similar inputs [1]: then what an error costs is not the diagonal of the moment
    but what is left of it, given the later columns. Zeros stay zeros, so that what was pruned
    remains so.

    References:
        [1] E. Frantar et al. GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
            Transformers. ICLR 2023, arXiv 2210.17323.
        [2] S. Wiedemann et al. DeepCABAC: A Universal Compression Algorithm for Deep Neural
            Networks. IEEE Journal of Selected Topics in Signal Processing 2020, arXiv 1907.11900.
    """

    kind: Literal["equal_slope"] = "equal_slope"
    since: ClassVar[str] = "0.1.0"

    def label(self) -> str:
        """Return the slope."""
        return f"slope {self.slope:.2g}"

    def encode(self, factor: Factor) -> dict[str, Stream]:
        """Return the codes, the base step, and the exponents of rows and columns."""
        grid = Grid.of(factor, self.slope)
        return grid.streams(rounded(factor.values, grid, nearest=factor.nearest))


def rounded(values: Matrix, grid: Grid, *, nearest: bool) -> Integers:
    """Round all elements to the steps of a grid; integers of the same shape."""
    codes, first = Growing(values.shape), 0
    thresholds = _Thresholds(None if nearest else Magnitudes(values, grid), values.shape[1])
    for shares in grid.feedback:
        cols = slice(first, first + len(shares))
        first = cols.stop
        for rows in row_blocks((len(values), len(shares)), _FED_BACK_AT_ONCE):
            part = values[rows, cols].astype(np.float64)
            steps = grid.steps(rows, cols)
            codes.put((rows, cols), _fed_back(part, steps, thresholds.at(rows, cols), shares))
    for rows in () if grid.feedback else row_blocks(values.shape, AT_ONCE):
        scaled = values[rows] / grid.steps(rows)
        codes.put(rows, _rounded(scaled, thresholds.at(rows, ALL)))
    return codes.array


def _fed_back(values: Floats, steps: Floats, thresholds: Floats, shares: Floats) -> Floats:
    """Round column after column, each made good by those behind it; changes the values."""
    zeros = values == 0
    codes = np.empty(values.shape)
    n_cols = values.shape[1]
    for first in range(0, n_cols, _BLOCK):
        last = min(first + _BLOCK, n_cols)
        errors = np.empty((values.shape[0], last - first))
        for col in range(first, last):
            code = _rounded(values[:, col] / steps[:, col], thresholds[:, col])
            code[zeros[:, col]] = 0
            codes[:, col] = code
            error = values[:, col] - code * steps[:, col]
            errors[:, col - first] = error
            values[:, col + 1 : last] -= error[:, None] * shares[col, col + 1 : last]
        values[:, last:] -= errors @ shares[first:last, last:]
    return codes


class _Thresholds:
    """Which fraction of a step takes an element to the level farther from zero.

    In units of the slope, an error of e steps costs 6 e^2 / ln 2, and a further step where the
    magnitude m is to be expected log2(1 + 1 / m) bits. Where nothing is expected, bits do not
    count.
    """

    def __init__(self, expected: Magnitudes | None, n_cols: int) -> None:
        self._expected, self._n_cols = expected, n_cols

    def at(self, rows: slice, cols: slice) -> Floats:
        """Return those of some elements, float64 of shape (rows, cols) or (1, cols)."""
        if self._expected is None:
            return np.full((1, len(range(self._n_cols)[cols])), 0.5)
        return 0.5 + np.log1p(1 / self._expected.at(rows, cols)) / 12


def _rounded(scaled: Floats, thresholds: Floats) -> Floats:
    """Round towards zero below the thresholds, and away from it from there on."""
    levels: Floats = np.sign(scaled) * np.maximum(np.floor(np.abs(scaled) + (1 - thresholds)), 0)
    return levels
