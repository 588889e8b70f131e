"""Low rank: a weight is the product of two thin factors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from autocompress.structures.base import STRUCTURES, Structure
from autocompress.structures.factors import Curvature, Factor, Matrix, Shape
from autocompress.structures.large import fitted, is_large
from autocompress.structures.markers import Share
from autocompress.structures.roots import Root, rooted
from autocompress.structures.thin import Thin

_LEAST = 1e-6

Floats = NDArray[np.float64]


@STRUCTURES.register("low_rank")
class LowRank(Structure):
    """Stores a weight as `left @ right`, the best approximation of its rank.

    The truncated singular value decomposition minimises the Frobenius norm of the error, which
    is the norm of the singular values left out [1]. It is taken from the eigenvectors of the
    smaller Gram matrix in float64, O(rows cols min(rows, cols)). The singular values are split
    evenly over both factors, so that one step size suits either.

    On the stacked weights of a site this is the shared projection of [2]: `right` is stored once
    for all weights that multiply the same vector.

    With `fit` "loss", what is minimised is not the norm but the predicted rise of the loss: the
    decomposition is that of `weight @ root`, for `root @ root.T` the second moment of what
    multiplies the rows, each row weighted by its sensitivity [3]. The factors are then those of
    a transform code: errors in `left` cost alike in all columns, of which the first vary most,
    so that one step suits all of them and columns that are not worth their bits become zero. The
    rank may be the full one.

    Attributes:
        rank: Columns of `left`, at least 1.
        fit: Whether to minimise the error of the "elements" or of the "loss".

    References:
        [1] C. Eckart, G. Young. The approximation of one matrix by another of lower rank.
            Psychometrika 1936.
        [2] A. Grachev, D. Ignatov, A. Savchenko. Compression of Recurrent Neural Networks for
            Efficient Language Modeling. Applied Soft Computing 2019, arXiv 1902.02380, sec. 3.
        [3] Y.-C. Hsu et al. Language Model Compression with Weighted Low-Rank Factorization.
            ICLR 2022, arXiv 2207.00112; here with the inputs' moment as well.
    """

    kind: Literal["low_rank"] = "low_rank"
    since: ClassVar[str] = "0.1.0"
    prunable: ClassVar[bool] = True
    rank: Annotated[int, Field(ge=1), Share()]
    fit: Literal["elements", "loss"] = "elements"

    def label(self) -> str:
        """Return "rank" and the rank, and what is fitted if it is not the elements."""
        return f"rank {self.rank}" + (" by loss" if self.fit == "loss" else "")

    def in_words(self) -> str:
        """Return the rank, and what is fitted if it is not the elements."""
        return f"rank {self.rank}" + (", fitted to the loss" if self.fit == "loss" else "")

    def misfit(self, shape: Shape) -> str | None:
        """Refuse ranks above the shape, and vectors, which have nothing to factorise."""
        if min(shape) == 1:
            return f"low rank needs a matrix, but the shape is {shape}"
        if self.rank <= min(shape):
            return None
        return f"`1 <= rank <= {min(shape)}` must hold for shape {shape}, but got rank={self.rank}"

    def factor_shapes(self, shape: Shape, integers: Mapping[str, Matrix]) -> dict[str, Shape]:
        """Return the shapes of `left` (rows, rank) and `right` (rank, cols)."""
        del integers
        return {"left": (shape[0], self.rank), "right": (self.rank, shape[1])}

    def factorize(
        self,
        weight: Matrix,
        row_frequencies: NDArray[np.float64] | None,
        curvature: Curvature | None = None,
    ) -> dict[str, Factor]:
        """Truncate the singular value decomposition; rows of `left` keep their frequencies.

        Where nothing is known of the loss, the elements are fitted. The factors of a fit to the
        loss know what errors in them cost.
        """
        if self.fit == "loss" and curvature is not None:
            return self._fitted_to_loss(weight, row_frequencies, curvature)
        left: NDArray[np.floating[Any]]
        right: NDArray[np.floating[Any]]
        if is_large(weight.shape):
            left, right = fitted(weight, None, self.rank)[:2]
        else:
            left, right = truncated_svd(weight.astype(np.float64), self.rank)
        return {
            "left": Factor(left.astype(np.float32), row_frequencies=row_frequencies),
            "right": Factor(right.astype(np.float32)),
        }

    def _fitted_to_loss(
        self,
        weight: Matrix,
        row_frequencies: NDArray[np.float64] | None,
        curvature: Curvature,
    ) -> dict[str, Factor]:
        damped, root = rooted(curvature)
        left: NDArray[np.floating[Any]]
        right: NDArray[np.floating[Any]]
        if is_large(weight.shape) or curvature.moment.ndim == 1:
            left, right, energies = fitted(weight, (damped, root), self.rank)
        else:
            left, right, energies = _fitted(weight, damped, root, self.rank)
        # What an error in a row of `right` costs grows with what the column of `left` holds.
        sensitivities = np.maximum(energies, (energies[0] * _LEAST) or 1.0)
        return {
            "left": Factor(
                left.astype(np.float32),
                row_frequencies=row_frequencies,
                curvature=Curvature(damped.rows, np.ones(self.rank)),
            ),
            "right": Factor(
                right.astype(np.float32), curvature=replace(damped, rows=sensitivities)
            ),
        }

    def reconstruct(self, factors: Mapping[str, Matrix]) -> Matrix:
        """Return `left @ right`."""
        return factors["left"] @ factors["right"]

    def thin(self, factors: Mapping[str, Any]) -> Thin:
        """Return one block."""
        return Thin([factors["left"]], [factors["right"]])


def _fitted(
    weight: Matrix, damped: Curvature, root: Root, rank: int
) -> tuple[Floats, Floats, Floats]:
    """Return both factors of a fit to the loss, and what each column of `left` is worth."""
    transformed = root.after(weight)
    values, vectors = np.linalg.eigh((transformed * damped.rows[:, None]).T @ transformed)
    energies, basis = values[::-1][:rank], vectors[:, ::-1][:, :rank]
    basis = basis * np.where(basis.sum(axis=0) < 0, -1.0, 1.0)
    return transformed @ basis, root.undone(basis.T), energies


def truncated_svd(
    matrix: NDArray[np.float64], rank: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return factors of shapes (rows, rank), (rank, cols) of the best rank-`rank` approximation.

    The sign of each pair of singular vectors is fixed, so that equal input gives equal bytes.
    """
    if matrix.shape[0] < matrix.shape[1]:
        right, left = truncated_svd(matrix.T, rank)
        return left.T, right.T
    _, vectors = np.linalg.eigh(matrix.T @ matrix)
    basis = vectors[:, ::-1][:, :rank]
    basis = basis * np.where(basis.sum(axis=0) < 0, -1.0, 1.0)
    projected = matrix @ basis
    norms = np.sqrt(np.maximum(np.linalg.norm(projected, axis=0), np.finfo(np.float64).tiny))
    return projected / norms, (basis * norms).T
