"""What a structure is: a way to represent a matrix by factors. numpy only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from autocompress.errors import PlanError
from autocompress.registry import Registry

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


class Structure(BaseModel, ABC):
    """Represents a weight of shape (rows, cols) by named factors.

    Subclasses are final, registered in `STRUCTURES` by their kind, and hold the
    hyper-parameters; vectors are seen as one row.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str

    @property
    def keeps_rows(self) -> bool:
        """Whether a factor has the weight's rows, and so their frequencies for a precision."""
        return True

    @abstractmethod
    def label(self) -> str:
        """Name the structure and its hyper-parameters on a few characters."""

    @abstractmethod
    def misfit(self, shape: Shape) -> str | None:
        """Say which rule a weight of this shape breaks, with the values, or None if it fits."""

    def integer_shapes(self, shape: Shape) -> dict[str, Shape]:
        """Give the shape of every factor of whole numbers of a weight of this shape, if any."""
        del shape
        return {}

    @abstractmethod
    def factor_shapes(self, shape: Shape, integers: Mapping[str, Matrix]) -> dict[str, Shape]:
        """Give the shape of every other factor of a weight of this shape.

        Args:
            shape: Rows and columns of the weight.
            integers: The factors of whole numbers, on which the shapes of the others may depend.

        Raises:
            ValueError: If the whole numbers cannot have come from `factorize`.
        """

    @abstractmethod
    def factorize(
        self,
        weight: Matrix,
        row_frequencies: NDArray[np.float64] | None,
        curvature: Curvature | None = None,
    ) -> dict[str, Factor]:
        """Represent a weight by factors.

        Args:
            weight: Float32 array of shape (rows, cols).
            row_frequencies: Float64 array of shape (rows,), or None.
            curvature: What errors in the weight cost, or None.

        Returns:
            The factors by name, in the order and of the shapes that `integer_shapes` and then
            `factor_shapes` give.
        """

    @abstractmethod
    def reconstruct(self, factors: Mapping[str, Matrix]) -> Matrix:
        """Return the weight, float32 of shape (rows, cols), that the factors stand for.

        Uses only operations that arrays share with torch tensors: recovery hands in tensors (but
        for whole numbers) and differentiates through this method.
        """


STRUCTURES: Registry[type[Structure]] = Registry("structure", "autocompress.structures")
"""All structures by their kind; a new one is a file that registers its class here."""


def matrix_shape(shape: tuple[int, ...]) -> Shape:
    """Return how a tensor is seen as a matrix: vectors as one row, the first axis as rows."""
    if len(shape) < 2:
        return 1, int(np.prod(shape, dtype=np.int64))
    return shape[0], int(np.prod(shape[1:], dtype=np.int64))


def stacked_shape(shapes: list[tuple[int, ...]]) -> Shape:
    """Return the shape of the matrix in which the members of an item lie upon each other.

    Raises:
        PlanError: If the members differ in width.
    """
    matrices = [matrix_shape(shape) for shape in shapes]
    widths = {cols for _, cols in matrices}
    if len(widths) != 1:
        raise PlanError(f"weights of one site must have equal widths, but have {sorted(widths)}")
    return sum(rows for rows, _ in matrices), widths.pop()


def permuted(array: Matrix, axes: list[int]) -> Matrix:
    """Return an array, or a tensor, with its axes in another order."""
    permute = getattr(array, "permute", None)
    result: Matrix = array.transpose(axes) if permute is None else permute(axes)
    return result


def interleaved(parts: list[Matrix], places: list[NDArray[np.int64]]) -> Matrix:
    """Return the matrix whose rows `places[k]` are the rows of `parts[k]`.

    Args:
        parts: Arrays, or tensors, of shape (rows of the part, cols).
        places: Int64 arrays of shape (rows of the part,), together each row once.
    """
    order = np.concatenate(places)
    first: Any = parts[0]
    if isinstance(first, np.ndarray):
        matrix = np.empty((order.size, first.shape[1]), dtype=np.float32)
        for part, place in zip(parts, places, strict=True):
            matrix[place] = part
        return matrix
    import torch  # tensors come in only where it is loaded already

    tensors: Any = parts
    joined: Any = torch.cat(tensors)
    result: Matrix = joined[torch.from_numpy(np.argsort(order))]
    return result
