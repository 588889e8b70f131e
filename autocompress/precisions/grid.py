"""Steps of which each row and column has its own, and precisions that store multiples of them."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Mapping
from copy import copy
from typing import Annotated, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from autocompress.precisions.base import (
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
from autocompress.support.integers import AT_ONCE, Integers

_LARGEST_CODE = 2**30
_ROWS_PER_OCTAVE, _COLS_PER_OCTAVE = 2, 4

ALL = slice(None)

Floats = NDArray[np.float64]


class OnGrid(Precision, ABC):
    """Stores multiples of steps that follow from what a bit must be worth.

    At high rate, a uniform quantizer with an entropy coder trades distortion D against bits at
    the slope 2 ln(2) D [1]. Where the slope is the same for all elements of all weights, no bit
    could do more good elsewhere. An element whose squared error costs c / 2 thus gets the step
    `sqrt(12 slope / (c ln 2))`, rounded to half an octave by row and a quarter by column.

    Attributes:
        slope: What a bit must be worth, in units of the loss; nats for a language model. Where
            nothing is known of the loss, in units of the relative squared error of the weight.

    References:
        [1] H. Gish, J. Pierce. Asymptotically Efficient Quantizing. IEEE Transactions on
            Information Theory 1968.
    """

    slope: Annotated[float, Field(gt=0, allow_inf_nan=False), Scaled(2), Priced()]
    has_zero_level: ClassVar[bool] = True
    has_fixed_steps: ClassVar[bool] = True
    has_steps: ClassVar[bool] = True
    frugal: ClassVar[bool] = True

    def in_words(self, bits: float) -> str:
        """Return what the coder needed: of a slope nobody can tell."""
        return f"{bits_in_words(bits)}, weighted by error"

    def misfit(self, factor: Factor) -> str | None:
        """Refuse steps so fine, or so coarse, that codes or levels overflow."""
        finest, widest = Grid.of(factor, self.slope).range
        magnitude = largest_magnitude(factor.values)
        if not finest > 0 or magnitude / finest > _LARGEST_CODE / 2:
            rule = f"`|weight| / step <= {_LARGEST_CODE // 2}` must hold"
            return f"{rule}, but slope={self.slope:g} gives steps of {finest:.3g}"
        if not magnitude + widest < float(np.finfo(np.float32).max) / 2:
            return f"`|weight| + step` must be a float32, but slope={self.slope:g} is too large"
        return None

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
        return Grid.of(factor, self.slope).steps()

    def price(self, factor: Factor) -> float:
        """Return the slope, where something is known of the loss."""
        return 0.0 if factor.curvature is None else self.slope

    def widened(self, octaves: float) -> Self:
        """Return it with all steps times 2^octaves; the slope goes with their square."""
        return self.model_copy(update={"slope": self.slope * 4.0**octaves})


class Grid:
    """The steps of a factor.

    Attributes:
        base: What all steps have in common; a float32.
        rows: By row, the exponent of the steps, in halves of an octave.
        cols: By column, in quarters.
        feedback: For each part of the curvature's moment, how the error of each column is passed
            on to later ones, (cols, cols); empty where there is no telling.
    """

    def __init__(self, base: float, rows: Floats, cols: Floats, feedback: list[Floats]) -> None:
        """Round exponents, which are in octaves."""
        self.base = float(np.float32(base))
        self.rows = np.rint(_ROWS_PER_OCTAVE * rows).astype(np.int64)
        self.cols = np.rint(_COLS_PER_OCTAVE * cols).astype(np.int64)
        self.feedback = feedback

    @classmethod
    def of(cls, factor: Factor, slope: float) -> Grid:
        """Choose the steps of a factor by what a bit must be worth."""
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

    def times(self, share: float) -> Grid:
        """Return it with all steps times a share."""
        other = copy(self)
        other.base = float(np.float32(self.base * share))
        return other

    @property
    def range(self) -> tuple[float, float]:
        """The finest and the widest step."""
        ends = (np.array([each.min(), each.max()]) for each in (self.rows, self.cols))
        finest, widest = np.diag(self.base * _scales(*ends)).tolist()
        return finest, widest

    def steps(self, rows: slice = ALL, cols: slice = ALL) -> Floats:
        """Return the step of each element, float64 of shape (rows, cols)."""
        return self.base * _scales(self.rows[rows], self.cols[cols])

    def streams(self, codes: Integers) -> dict[str, Stream]:
        """Return the codes, the base step, and the exponents of rows and columns.

        Exponents are stored as differences from one row, or column, to the next.
        """
        streams: dict[str, Stream] = {
            "codes": codes,
            "step": np.full((1, 1), self.base, np.float32),
        }
        for name, exponents in (("row_exponents", self.rows), ("column_exponents", self.cols)):
            if exponents.any():
                streams[name] = np.diff(exponents, prepend=0)[None, :]
        return streams


class Magnitudes:
    """What magnitude is to be expected of each element, in its steps.

    Attributes:
        rows: Sums of magnitudes by row, whole numbers that add up exactly.
        cols: The same by column.
    """

    def __init__(self, values: Matrix, grid: Grid) -> None:
        self.rows, self.cols = np.zeros(values.shape[0]), np.zeros(values.shape[1])
        for block in row_blocks(values.shape, AT_ONCE):
            magnitudes = np.abs(np.rint(values[block] / grid.steps(block)))
            self.rows[block] = magnitudes.sum(axis=1)
            self.cols += magnitudes.sum(axis=0)

    def at(self, rows: slice, cols: slice) -> Floats:
        """Return those of some elements, float64 of shape (rows, cols)."""
        return expected_by_sums(self.rows, self.cols, rows, cols)


def _scales(rows: NDArray[np.int64], cols: NDArray[np.int64]) -> Floats:
    """Return the steps relative to the base, float64 of shape (rows, cols)."""
    scales: Floats = np.exp2(rows / _ROWS_PER_OCTAVE)[:, None] * np.exp2(cols / _COLS_PER_OCTAVE)
    return scales


def _exponents(streams: Mapping[str, Stream], name: str, size: int) -> NDArray[np.int64]:
    differences = streams.get(name, np.zeros((1, size), dtype=np.int64))
    if differences.size != size:
        raise ValueError(f"{size} {name} are needed, not {differences.size}")
    return np.cumsum(differences.ravel())
