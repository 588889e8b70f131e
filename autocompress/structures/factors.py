"""Factors: what a structure makes of a weight, and what errors in a matrix cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Shape = tuple[int, int]


@dataclass(frozen=True)
class Curvature:
    """What errors in a matrix cost, to second order.

    An error E raises the loss by about 1/2 sum_i rows_i e_i moment e_i^T, where e_i is row i of
    E: the Fisher information as a Kronecker product [1], of which the factor of the rows is
    diagonal.

    Attributes:
        rows: Float64 array of shape (rows,), above zero: how sensitive the loss is to each row.
        moment: Float64 array of shape (cols, cols), symmetric and positive semidefinite: the
            second moment of what multiplies the rows. Of shape (cols,) where it is diagonal.

    References:
        [1] J. Martens, R. Grosse. Optimizing Neural Networks with Kronecker-factored Approximate
            Curvature. ICML 2015, arXiv 1503.05671.
    """

    rows: NDArray[np.float64]
    moment: NDArray[np.float64]

    @classmethod
    def relative(cls, values: Matrix) -> Curvature:
        """Weigh errors by their squares, relative to the sum of squares of the values."""
        energy = float(np.square(values, dtype=np.float64).sum()) or 1.0
        return cls(np.full(values.shape[0], 1 / energy), np.ones(values.shape[1]))

    @property
    def diagonal(self) -> NDArray[np.float64]:
        """The diagonal of the moment, of shape (cols,)."""
        return self.moment if self.moment.ndim == 1 else np.diag(self.moment)

    def damped(self, share: float) -> Curvature:
        """Return it with a share of the moment's mean diagonal added to the diagonal."""
        added = share * (float(self.diagonal.mean()) or 1.0)
        one = 1.0 if self.moment.ndim == 1 else np.eye(len(self.moment))
        return Curvature(self.rows, self.moment + added * one)

    def rise(self, error: Matrix) -> float:
        """Return the predicted rise of the loss for an error of shape (rows, cols)."""
        ahead = error * self.moment if self.moment.ndim == 1 else error @ self.moment
        squares = np.einsum("ij,ij->i", ahead, error, dtype=np.float64)
        return float(self.rows @ squares) / 2


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
