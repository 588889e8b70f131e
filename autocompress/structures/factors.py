"""Factors: what a structure makes of a weight, and what errors in a matrix cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

_FAINT = 2.0**-40

Matrix = NDArray[np.float32]
Shape = tuple[int, int]

AT_ONCE = 2**24
"""Matrices of more elements are gone through by blocks of rows."""
COSTED_AT_ONCE = 2**22
"""So many errors are turned into costs at once: that takes four times their memory."""


def row_blocks(shape: Shape, at_once: int = AT_ONCE) -> Iterator[slice]:
    """Cut a matrix into blocks of rows of at most about so many elements."""
    step = max(at_once // max(shape[1], 1), 1)
    # Products of matrices round alike, however the rows are cut, if blocks are multiples of tiles.
    step = step // 64 * 64 or step
    return (slice(first, first + step) for first in range(0, shape[0], step))


@dataclass(frozen=True)
class Curvature:
    """What errors in a matrix cost, to second order.

    An error E raises the loss by about 1/2 sum_i rows_i e_i moment e_i^T, where e_i is row i of
    E: the Fisher information as a Kronecker product [1], of which the factor of the rows is
    diagonal.

    The second moment of wide vectors is kept block by block, or but for its diagonal left out:
    `parts` tells what there is of it.

    Attributes:
        rows: Float64 array of shape (rows,), above zero: how sensitive the loss is to each row.
        moment: Float64 array of shape (cols, cols), symmetric and positive semidefinite: the
            second moment of what multiplies the rows. Of shape (cols,) where it is diagonal. With
            `widths`, float32 or float64 of shape (sum of squared widths,): its blocks, flat.
        widths: The widths of the blocks along the diagonal, which add up to the columns; empty
            where there is but one block, or the diagonal.

    References:
        [1] J. Martens, R. Grosse. Optimizing Neural Networks with Kronecker-factored Approximate
            Curvature. ICML 2015, arXiv 1503.05671.
    """

    rows: NDArray[np.float64]
    moment: NDArray[Any]
    widths: tuple[int, ...] = ()

    @classmethod
    def relative(cls, values: Matrix) -> Curvature:
        """Weigh errors by their squares, relative to the sum of squares of the values."""
        squares = [np.square(values[b], dtype=np.float64).sum() for b in row_blocks(values.shape)]
        energy = float(sum(squares)) or 1.0
        return cls(np.full(values.shape[0], 1 / energy), np.ones(values.shape[1]))

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Undo `arrays`."""
        widths = tuple(arrays["widths"].tolist()) if "widths" in arrays else ()
        return cls(arrays["rows"], arrays["moment"], widths)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """All there is of it, to be kept in a file."""
        widths = {"widths": np.array(self.widths)} if self.widths else {}
        return {"rows": self.rows, "moment": self.moment, **widths}

    @property
    def parts(self) -> Iterator[tuple[slice, NDArray[Any]]]:
        """The columns of each part of the moment, and the part.

        It has the shape (width, width), or (width,) where only its diagonal is known; columns of
        different parts are taken for uncorrelated.
        """
        if not self.widths:
            yield slice(0, len(self.moment)), self.moment
        col = first = 0
        for width in self.widths:
            last = first + width * width
            yield slice(col, col + width), self.moment[first:last].reshape(width, width)
            col, first = col + width, last

    @property
    def is_diagonal(self) -> bool:
        """Whether nothing is known of how columns belong together."""
        return self.moment.ndim == 1 and not self.widths

    @property
    def diagonal(self) -> NDArray[np.float64]:
        """The diagonal of the moment, of shape (cols,)."""
        if self.is_diagonal:
            return self.moment
        diagonals = [np.diag(part) for _, part in self.parts]
        return diagonals[0] if not self.widths else np.concatenate(diagonals).astype(np.float64)

    def of_rows(self, rows: slice) -> Curvature:
        """Return that of some of the rows alone."""
        return replace(self, rows=self.rows[rows])

    def mapped(
        self, function: Callable[[slice, NDArray[Any]], NDArray[Any]], rows: Any = None
    ) -> Curvature:
        """Return it with each part of the moment replaced by what a function gives.

        Args:
            function: Takes the columns and a part; keeps its shape.
            rows: Other sensitivities, or None.
        """
        moment, first = self.moment, 0
        for cols, part in self.parts:
            mapped = function(cols, part)
            if not self.widths:
                moment = mapped
                break
            if not first:
                moment = np.empty(self.moment.shape, mapped.dtype)
            moment[first : first + part.size] = mapped.ravel()
            first += part.size
        return Curvature(self.rows if rows is None else rows, moment, self.widths)

    def damped(self, share: float) -> Curvature:
        """Return it with a share of the moment's mean diagonal added to the diagonal."""
        added = share * (float(self.diagonal.mean()) or 1.0)

        def shifted(cols: slice, part: NDArray[Any]) -> NDArray[Any]:
            del cols
            return part + added * (1.0 if part.ndim == 1 else np.eye(len(part), dtype=part.dtype))

        return self.mapped(shifted)

    def balanced(self) -> Curvature:
        """Return the same, with a moment of the mean diagonal 1 if it was far from that."""
        mean = float(self.diagonal.mean())
        if not mean > 0 or _FAINT < mean < 1 / _FAINT:
            return self
        return self.mapped(lambda cols, part: part / mean, self.rows * mean)

    def rise(self, error: Matrix) -> float:
        """Return the predicted rise of the loss for an error of shape (rows, cols)."""
        blocks = row_blocks(error.shape, COSTED_AT_ONCE)
        squares = np.concatenate([self.row_costs(error[block]) for block in blocks])
        return float(self.rows @ squares) / 2

    def row_costs(self, error: Matrix) -> NDArray[np.float64]:
        """Return what moment gives for each row e of an error: e moment e^T, shape (rows,)."""
        total: Any = None
        for cols, part in self.parts:
            some = error[:, cols]
            ahead = some * part if part.ndim == 1 else some @ part
            squares = np.einsum("ij,ij->i", ahead, some, dtype=np.float64)
            total = squares if total is None else total + squares
        return np.asarray(total)


@dataclass(frozen=True)
class Factor:
    """One matrix to be stored, with what a precision may want to know of it.

    Attributes:
        values: Float32 array of shape (rows, cols).
        mask: Bool array of shape (rows, cols), or None. Where it is False the value is zero, and
            a precision need not store it.
        row_frequencies: Float64 array of shape (rows,), how often each row is used, or None.
        integers: Whether the values are whole numbers, such as indices into a codebook. They are
            coded as they are, whatever the precision.
        curvature: What errors in the values cost, or None where nothing is known of it.
        nearest: Whether rounding must be to the nearest level, as when the values were trained so.
    """

    values: Matrix
    mask: NDArray[np.bool_] | None = None
    row_frequencies: NDArray[np.float64] | None = None
    integers: bool = False
    curvature: Curvature | None = None
    nearest: bool = False
