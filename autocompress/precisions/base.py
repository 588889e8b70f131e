"""What a precision is: a way to store the numbers of one factor. numpy only."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from autocompress.precisions.feedback import without_feedback
from autocompress.registry import Registry
from autocompress.structures.factors import Factor, Matrix, Shape

_INT4_BITS = 4
_SMALLEST_MEAN, _PRIOR_COLUMNS, _TINY = 2.0**-9, 3.0, 1e-30
_AnyArray = TypeVar("_AnyArray")

Stream = NDArray[Any]
"""A two-dimensional array to be stored: float16, float32, or whole numbers of a signed type, which
a coder makes bytes."""


Runtime = Literal["float32", "int8", "int4"]
"""In what numbers a weight is multiplied where ONNX Runtime runs the model."""


class Precision(BaseModel, ABC):
    """Turns a factor into streams of integers and scales, and back.

    Subclasses are final, registered in `PRECISIONS` by their kind, and hold the
    hyper-parameters.

    Attributes:
        kind: What plans and files call it, and what it is registered by; never changes.
        since: First version of its package that has it.
        has_zero_level: Whether zero is one of the levels, so that a pruned factor keeps its zeros
            without a mask beside it.
        has_fixed_steps: Whether the steps depend on what errors cost, where that is known, and
            not on the values.
        has_steps: Whether the numbers are stored in steps that `widened` widens.
        is_exact: Whether every factor comes back bit for bit.
        trains_levels: Whether elements that share a level are trained as one: the codes stay, and
            the level is the mean of its elements.
        spans: Whether the levels reach from the smallest value of a row, or of all, to the
            largest: where some columns of a wide weight stand for all, they are told both.
        frugal: Whether `decode` takes whole numbers of any signed type; else they are made
            int64.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    since: ClassVar[str]
    has_zero_level: ClassVar[bool] = False
    has_fixed_steps: ClassVar[bool] = False
    has_steps: ClassVar[bool] = False
    is_exact: ClassVar[bool] = False
    trains_levels: ClassVar[bool] = False
    spans: ClassVar[bool] = False
    frugal: ClassVar[bool] = False

    @property
    def width_bits(self) -> float | None:
        """Bits of a number as papers count them, or None where the coder decides."""
        return None

    @property
    def runs_in(self) -> Runtime:
        """In what numbers a weight runs that runs as it is stored."""
        return "float32"

    @abstractmethod
    def label(self) -> str:
        """Name the precision and its hyper-parameters on a few characters."""

    def in_words(self, bits: float) -> str:
        """Say how numbers are stored, to a reader of tables; the label, unless that is too terse.

        Args:
            bits: What an element of the weight takes in a file.
        """
        del bits
        return self.label()

    @property
    def needs_row_frequencies(self) -> bool:
        """Whether some factor must have row frequencies, since the plan relies on them."""
        return False

    @abstractmethod
    def misfit(self, factor: Factor) -> str | None:
        """Say which rule this factor breaks, with the values, or None if it fits."""

    @abstractmethod
    def encode(self, factor: Factor) -> dict[str, Stream]:
        """Turn a factor that fits into streams, all of two dimensions."""

    @abstractmethod
    def decode(
        self, streams: Mapping[str, Stream], shape: Shape, mask: NDArray[np.bool_] | None
    ) -> Matrix:
        """Turn streams back into a float32 factor of this shape, zero outside the mask."""

    def streams_of(
        self, streams: Mapping[str, Stream], shape: Shape, rows: slice
    ) -> dict[str, Stream] | None:
        """Return the streams from which `decode` gives some of the rows of a factor alone.

        What can be taken apart is loaded part by part, with less memory. Nothing is pruned.

        Args:
            streams: Of the whole factor.
            shape: Of the whole factor.
            rows: Which rows are wanted.

        Returns:
            None where a factor is decoded as a whole.
        """
        del streams, shape, rows
        return None

    def steps(self, factor: Factor) -> NDArray[np.float64] | None:
        """Return the distance of levels at each element, or None if they are not evenly spaced.

        Float64 of a shape that broadcasts to the factor's.
        """
        del factor
        return None

    def price(self, factor: Factor) -> float:
        """Return what a bit must be worth for the steps to be right, in units of the loss.

        At high rate it is `ln(2) c step^2 / 12` where squared errors cost c / 2 [1]; here the mean
        over the factor. It is 0 where there are no steps, or nothing is known of the loss.

        References:
            [1] H. Gish, J. Pierce. Asymptotically Efficient Quantizing. IEEE Transactions on
                Information Theory 1968.
        """
        steps, curvature = self.steps(factor), factor.curvature
        if steps is None or curvature is None:
            return 0.0
        squares = np.broadcast_to(np.square(steps), factor.values.shape)
        costs = curvature.rows @ squares @ curvature.diagonal
        return float(costs) * math.log(2) / 12 / factor.values.size

    def widened(self, octaves: float) -> Self:
        """Return it with its steps times 2^octaves; itself where there are no steps to choose."""
        del octaves
        return self

    @property
    def trained(self) -> Precision:
        """What stores numbers that are fine-tuned: itself, unless its levels depend on others."""
        return self

    def steady(self, factor: Factor) -> Factor:
        """Return the factor with the same steps, but rounding to the nearest level."""
        curvature = factor.curvature and without_feedback(factor.curvature)
        return replace(factor, nearest=True, curvature=curvature)

    def quantize(self, factor: Factor) -> Matrix:
        """Return the factor as it is after storing and loading, float32 of the same shape."""
        return self.decode(self.encode(factor), factor.values.shape, factor.mask)


PRECISIONS: Registry[type[Precision]] = Registry("precision", "autocompress.precisions")
"""All precisions by their kind; a new one is a file that registers its class here."""


def expected_magnitudes(magnitudes: _AnyArray) -> _AnyArray:
    """Return the magnitude to be expected of each code: mean of its row times that of its column.

    A few columns of the mean of all stand in for what short rows do not tell. With magnitudes
    that fall off exponentially from the mean m, a further step costs log2(1 + 1 / m) bits.

    Args:
        magnitudes: Array, or torch tensor, of shape (rows, cols).
    """
    array: Any = magnitudes
    means = array.mean(axis=1, keepdims=True), array.mean(axis=0, keepdims=True)
    expected: _AnyArray = _expected(*means, array.mean(), array.shape[1])
    return expected


def expected_by_sums(
    row_sums: NDArray[np.float64], column_sums: NDArray[np.float64], rows: slice, cols: slice
) -> NDArray[np.float64]:
    """Return `expected_magnitudes` of some elements, of which sums over all are known.

    Args:
        row_sums: Of the magnitudes of each row, shape (all rows,).
        column_sums: Of each column, shape (all columns,).
        rows: Which rows.
        cols: Which columns.
    """
    n_rows, n_cols = row_sums.size, column_sums.size
    means = row_sums[rows, None] / n_cols, column_sums[None, cols] / n_rows
    expected: NDArray[np.float64] = _expected(*means, row_sums.sum() / (n_rows * n_cols), n_cols)
    return expected


def _expected(rows: Any, columns: Any, mean: Any, n_cols: int) -> Any:
    rows = rows * n_cols + _PRIOR_COLUMNS * mean
    columns = columns / (mean + _TINY)
    return (rows * columns / (n_cols + _PRIOR_COLUMNS)).clip(min=_SMALLEST_MEAN)


def bits_in_words(bits: float) -> str:
    """Write bits per element with one decimal, below 1 with two."""
    return f"{bits:.{1 if bits >= 1 else 2}f} bits"


def largest_magnitude(values: NDArray[np.floating[Any]]) -> float:
    """Return the largest magnitude, 0 where there are no values."""
    return max(float(values.max(initial=0)), -float(values.min(initial=0)))


def coded_rows(streams: Mapping[str, Stream], shape: Shape, rows: slice) -> dict[str, Stream]:
    """Return the streams of some rows: their codes, their exponents if there are any, all else.

    Args:
        streams: Of the whole factor: `codes`, and perhaps `row_exponents`, stored as differences.
        shape: Of the whole factor.
        rows: Which rows are wanted.

    Raises:
        ValueError: If there is not a code for every element, or an exponent for every row.
    """
    some = {**streams, "codes": streams["codes"].reshape(shape)[rows]}
    if "row_exponents" in streams:
        differences = streams["row_exponents"].ravel()
        if differences.size != shape[0]:
            raise ValueError(f"{shape[0]} rows need as many exponents, not {differences.size}")
        exponents = np.cumsum(differences, dtype=np.int64)[rows]
        some["row_exponents"] = np.diff(exponents, prepend=0)[None, :]
    return some


def whole_numbers(bits: int) -> Runtime:
    """Return the whole numbers in which codes of so many bits run."""
    return "int4" if bits <= _INT4_BITS else "int8"


def survivors(values: NDArray[Any], mask: NDArray[np.bool_] | None) -> NDArray[Any]:
    """Return the elements to store: all, of shape (rows, cols), or those in the mask, (1, n)."""
    return values if mask is None else values[mask][None, :]


def spread(
    stored: NDArray[Any], shape: Shape, mask: NDArray[np.bool_] | None, fill: float = 0
) -> NDArray[Any]:
    """Undo `survivors`: put the stored elements back where the mask says, `fill` elsewhere."""
    if mask is None:
        return stored.reshape(shape)
    full = np.full(shape, fill, dtype=stored.dtype)
    full[mask] = stored.ravel()
    return full
