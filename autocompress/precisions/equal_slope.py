"""Equal slope: steps so wide that everywhere the next bit would lower the loss by as much."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from autocompress.precisions.base import (
    PRECISIONS,
    Precision,
    Stream,
    bits_in_words,
    coded_rows,
    expected_by_sums,
    largest_magnitude,
)
from autocompress.precisions.feedback import DAMPING, passed_on
from autocompress.structures.factors import Curvature, Factor, Matrix, Shape, row_blocks
from autocompress.structures.markers import Priced, Scaled
from autocompress.support.integers import AT_ONCE, Growing, Integers

_LARGEST_CODE = 2**30
_ROWS_PER_OCTAVE, _COLS_PER_OCTAVE = 2, 4
_BLOCK = 64
_FED_BACK_AT_ONCE = 2**21

_ALL = slice(None)

Floats = NDArray[np.float64]


@PRECISIONS.register("equal_slope")
class EqualSlope(Precision):
    """Rounds to steps of which each row and column has its own, and feeds errors back.

    At high rate, a uniform quantizer with an entropy coder trades distortion D against bits at
    the slope 2 ln(2) D [1]. Where the slope is the same for all elements of all weights, no bit
    could do more good elsewhere. An element whose squared error costs c / 2 thus gets the step
    `sqrt(12 slope / (c ln 2))`, rounded to half an octave by row and a quarter by column.

    An element is rounded to the level that costs least, errors and bits taken together [3]: the
    level farther from zero is taken if it is the nearer one by enough to pay for its bits.

    Columns are rounded in turn. The error of each is made good by those still to come, as far as
    they multiply similar inputs [2]: then c is not the diagonal of the moment but what is left of
    it, given the later columns. Zeros stay zeros, so that what was pruned remains so.

    Attributes:
        slope: What a bit must be worth, in units of the loss; nats for a language model. Where
            nothing is known of the loss, in units of the relative squared error of the weight.

    References:
        [1] H. Gish, J. Pierce. Asymptotically Efficient Quantizing. IEEE Transactions on
            Information Theory 1968.
        [2] E. Frantar et al. GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
            Transformers. ICLR 2023, arXiv 2210.17323.
        [3] S. Wiedemann et al. DeepCABAC: A Universal Compression Algorithm for Deep Neural
            Networks. IEEE Journal of Selected Topics in Signal Processing 2020, arXiv 1907.11900.
    """

    kind: Literal["equal_slope"] = "equal_slope"
    since: ClassVar[str] = "0.1.0"
    slope: Annotated[float, Field(gt=0, allow_inf_nan=False), Scaled(2), Priced()]
    has_zero_level: ClassVar[bool] = True
    has_fixed_steps: ClassVar[bool] = True
    has_steps: ClassVar[bool] = True
    frugal: ClassVar[bool] = True

    def label(self) -> str:
        """Return the slope."""
        return f"slope {self.slope:.2g}"

    def in_words(self, bits: float) -> str:
        """Return what the coder needed: of a slope nobody can tell."""
        return f"{bits_in_words(bits)}, weighted by error"

    def misfit(self, factor: Factor) -> str | None:
        """Refuse steps so fine, or so coarse, that codes or levels overflow."""
        finest, widest = _Grid.of(factor, self.slope).range
        magnitude = largest_magnitude(factor.values)
        if not finest > 0 or magnitude / finest > _LARGEST_CODE / 2:
            rule = f"`|weight| / step <= {_LARGEST_CODE // 2}` must hold"
            return f"{rule}, but slope={self.slope:g} gives steps of {finest:.3g}"
        if not magnitude + widest < float(np.finfo(np.float32).max) / 2:
            return f"`|weight| + step` must be a float32, but slope={self.slope:g} is too large"
        return None

    def encode(self, factor: Factor) -> dict[str, Stream]:
        """Return the codes, the base step, and the exponents of rows and columns.

        Exponents are stored as differences from one row, or column, to the next.
        """
        grid = _Grid.of(factor, self.slope)
        streams: dict[str, Stream] = {
            "codes": grid.codes(factor.values, nearest=factor.nearest),
            "step": np.full((1, 1), grid.base, np.float32),
        }
        for name, exponents in (("row_exponents", grid.rows), ("column_exponents", grid.cols)):
            if exponents.any():
                streams[name] = np.diff(exponents, prepend=0)[None, :]
        return streams

    def decode(
        self, streams: Mapping[str, Stream], shape: Shape, mask: NDArray[np.bool_] | None
    ) -> Matrix:
        """Return each code times the step of its row and column.

        Raises:
            ValueError: If there are exponents, but not one for every row or column.
        """
        del mask
        rows = _exponents(streams, "row_exponents", shape[0])
        cols = _exponents(streams, "column_exponents", shape[1])
        base, codes = float(streams["step"].ravel()[0]), streams["codes"].reshape(shape)
        values = np.empty(shape, np.float32)
        for block in row_blocks(shape, AT_ONCE):
            values[block] = codes[block] * (base * _scales(rows[block], cols))
        return values

    def streams_of(
        self, streams: Mapping[str, Stream], shape: Shape, rows: slice
    ) -> dict[str, Stream]:
        """Return the rows' codes, their exponents, and all else."""
        return coded_rows(streams, shape, rows)

    def steps(self, factor: Factor) -> Floats:
        """Return the step of each element, float64 of the factor's shape."""
        return _Grid.of(factor, self.slope).steps()

    def price(self, factor: Factor) -> float:
        """Return the slope, where something is known of the loss."""
        return 0.0 if factor.curvature is None else self.slope

    def widened(self, octaves: float) -> Self:
        """Return it with all steps times 2^octaves; the slope goes with their square."""
        return self.model_copy(update={"slope": self.slope * 4.0**octaves})


class _Grid:
    """The steps of a factor, and the rounding to them."""

    def __init__(self, base: float, rows: Floats, cols: Floats, feedback: list[Floats]) -> None:
        self.base = float(np.float32(base))
        self.rows = np.rint(_ROWS_PER_OCTAVE * rows).astype(np.int64)
        self.cols = np.rint(_COLS_PER_OCTAVE * cols).astype(np.int64)
        self._feedback = feedback

    @classmethod
    def of(cls, factor: Factor, slope: float) -> _Grid:
        curvature = factor.curvature or Curvature.relative(factor.values)
        if curvature.is_diagonal:
            diagonal, feedback = curvature.diagonal, []
            costs = np.maximum(diagonal, DAMPING**3 * diagonal.max(initial=0))
        else:
            passed = passed_on(curvature)
            feedback = [shares for shares, _ in passed]
            costs = np.concatenate([left for _, left in passed])
        rows, cols = -np.log2(curvature.rows) / 2, -np.log2(costs) / 2
        middle = rows.mean() + cols.mean()
        with np.errstate(over="ignore"):  # infinity is refused by `misfit`
            base = math.sqrt(12 * slope / math.log(2)) * np.exp2(middle)
            return cls(base, rows - rows.mean(), cols - cols.mean(), feedback)

    @property
    def range(self) -> tuple[float, float]:
        """The finest and the widest step."""
        ends = (np.array([each.min(), each.max()]) for each in (self.rows, self.cols))
        finest, widest = np.diag(self.base * _scales(*ends)).tolist()
        return finest, widest

    def steps(self, rows: slice = _ALL, cols: slice = _ALL) -> Floats:
        """Return the step of each element, float64 of shape (rows, cols)."""
        return self.base * _scales(self.rows[rows], self.cols[cols])

    def codes(self, values: Matrix, *, nearest: bool) -> Integers:
        """Round all elements; integers of the same shape."""
        codes, first = Growing(values.shape), 0
        thresholds = _Thresholds.of(values, self, nearest=nearest)
        for shares in self._feedback:
            cols = slice(first, first + len(shares))
            first = cols.stop
            for rows in row_blocks((len(values), len(shares)), _FED_BACK_AT_ONCE):
                part = values[rows, cols].astype(np.float64)
                steps = self.steps(rows, cols)
                codes.put((rows, cols), _fed_back(part, steps, thresholds.at(rows, cols), shares))
        for rows in () if self._feedback else row_blocks(values.shape, AT_ONCE):
            scaled = values[rows] / self.steps(rows)
            codes.put(rows, _rounded(scaled, thresholds.at(rows, _ALL)))
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
    magnitude m is to be expected log2(1 + 1 / m) bits.
    """

    def __init__(self, rows: Floats, cols: Floats, *, nearest: bool) -> None:
        self._rows, self._cols, self._nearest = rows, cols, nearest

    @classmethod
    def of(cls, values: Matrix, grid: _Grid, *, nearest: bool) -> _Thresholds:
        """Take sums of magnitudes by row and by column, whole numbers that add up exactly."""
        rows, cols = np.zeros(values.shape[0]), np.zeros(values.shape[1])
        for block in () if nearest else row_blocks(values.shape, AT_ONCE):
            magnitudes = np.abs(np.rint(values[block] / grid.steps(block)))
            rows[block] = magnitudes.sum(axis=1)
            cols += magnitudes.sum(axis=0)
        return cls(rows, cols, nearest=nearest)

    def at(self, rows: slice, cols: slice) -> Floats:
        """Return those of some elements, float64 of shape (rows, cols) or (1, cols)."""
        if self._nearest:
            return np.full((1, self._cols[cols].size), 0.5)
        expected = expected_by_sums(self._rows, self._cols, rows, cols)
        return 0.5 + np.log1p(1 / expected) / 12


def _rounded(scaled: Floats, thresholds: Floats) -> Floats:
    """Round towards zero below the thresholds, and away from it from there on."""
    levels: Floats = np.sign(scaled) * np.maximum(np.floor(np.abs(scaled) + (1 - thresholds)), 0)
    return levels


def _scales(rows: NDArray[np.int64], cols: NDArray[np.int64]) -> Floats:
    """Return the steps relative to the base, float64 of shape (rows, cols)."""
    scales: Floats = np.exp2(rows / _ROWS_PER_OCTAVE)[:, None] * np.exp2(cols / _COLS_PER_OCTAVE)
    return scales


def _exponents(streams: Mapping[str, Stream], name: str, size: int) -> NDArray[np.int64]:
    differences = streams.get(name, np.zeros((1, size), dtype=np.int64))
    if differences.size != size:
        raise ValueError(f"{size} {name} are needed, not {differences.size}")
    return np.cumsum(differences.ravel())
