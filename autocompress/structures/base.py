"""What a structure is: a way to represent a matrix by factors. numpy only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from autocompress.errors import PlanError
from autocompress.registry import Registry
from autocompress.structures.factors import Curvature, Factor, Matrix, Shape
from autocompress.structures.thin import Thin


class _OfInstances:
    """A constant that objects have but classes do not, so that a subclass may make it a field."""

    def __init__(self, value: float) -> None:
        self._value = value

    def __get__(self, instance: object, owner: type) -> float:
        if instance is None:
            raise AttributeError(f"{owner.__name__} has it in objects alone")
        return self._value


class Structure(BaseModel, ABC):
    """Represents a weight of shape (rows, cols) by named factors.

    Subclasses are final, registered in `STRUCTURES` by their kind, and hold the
    hyper-parameters; vectors are seen as one row.

    Attributes:
        kind: What plans and files call it, and what it is registered by; never changes.
        since: First version of its package that has it.
        is_weight: Whether the only factor is the weight itself.
        prunable: Whether `Pruned` may set elements of its factors to zero.
        sparsity: Share of the elements of each factor that is zero on purpose.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(_OfInstances,))

    kind: str
    since: ClassVar[str]
    prunable: ClassVar[bool] = False
    is_weight: ClassVar[bool] = False
    if TYPE_CHECKING:

        @property
        def sparsity(self) -> float:
            """Share of the elements of each factor that is zero on purpose."""
    else:
        sparsity = _OfInstances(0.0)

    @property
    def keeps_rows(self) -> bool:
        """Whether a factor has the weight's rows, and so their frequencies for a precision."""
        return True

    @property
    def base(self) -> Structure:
        """What the weight is represented by before single elements are set to zero."""
        return self

    @property
    def method(self) -> str:
        """The kind, and those of structures within it that are not the usual ones."""
        return method_name(self)

    @abstractmethod
    def label(self) -> str:
        """Name the structure and its hyper-parameters on a few characters."""

    def in_words(self) -> str:
        """Say what the structure is to a reader of tables; the label, unless that is too terse."""
        return self.label()

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

    def thin(self, factors: Mapping[str, Any]) -> Thin | None:
        """Return the weight as blocks of thin products of the factors, or None if it is none.

        Args:
            factors: Arrays, or torch tensors, by name.
        """
        del factors
        return None

    def multiplications(self, shape: Shape, factors: Mapping[str, Any]) -> int:
        """Count what one vector takes from the factors; rows * cols where they are decoded."""
        thin = self.thin(factors)
        return shape[0] * shape[1] if thin is None else thin.multiplications

    def times(self, factors: Mapping[str, Any], x: Any) -> Any:
        """Multiply vectors by the weight, from its factors.

        Args:
            factors: Arrays, or torch tensors (but for whole numbers), by name.
            x: Of the same library, shape (..., cols).

        Returns:
            Shape (..., rows), differentiable in factors and vectors where they are tensors.
        """
        thin = self.thin(factors)
        return x @ self.reconstruct(factors).T if thin is None else thin.times(x)

    def rows(self, factors: Mapping[str, Any], ids: Any) -> Any:
        """Return rows of the weight, from its factors.

        Args:
            factors: Arrays, or torch tensors (but for whole numbers), by name.
            ids: Int64, of the same library and any shape.

        Returns:
            Shape (..., cols), differentiable in the factors where they are tensors.
        """
        thin = self.thin(factors)
        return self.reconstruct(factors)[ids] if thin is None else thin.rows(ids)

    def counted_bits(self, factor: str) -> float:
        """Return the bits that papers count for each whole number of a factor."""
        del factor
        return 0.0


def method_name(method: BaseModel) -> str:
    """Name the kind of a method, and of methods within it but where they are the usual ones."""
    kinds = [str(dict(method)["kind"])]
    for name, value in method:
        usual = getattr(type(method).model_fields[name].default, "kind", None)
        inner = getattr(value, "kind", usual)
        kinds += [str(inner)] if inner != usual else []
    return " ".join(kinds)


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
