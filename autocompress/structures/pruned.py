"""Magnitude pruning: the smallest elements become zero, and zeros cost next to nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from autocompress.structures.base import Factor, Matrix, Shape, Structure


class Pruned(Structure):
    """Keeps the `size - round(sparsity * size)` elements of largest magnitude, bit for bit.

    Where the zeros are is stored too, and counts: as a mask, or within the integers of a
    precision that has a level for zero. Of equal magnitudes, the earlier element is pruned.

    References:
        [1] S. Han, J. Pool, J. Tran, W. Dally. Learning both Weights and Connections for
            Efficient Neural Networks. NeurIPS 2015, arXiv 1506.02626.
    """

    kind: Literal["pruned"] = "pruned"
    sparsity: Annotated[float, Field(gt=0, lt=1)]

    def label(self) -> str:
        """Return "pruned" and the share of zeros."""
        return f"pruned {self.sparsity:.0%}"

    def misfit(self, shape: Shape) -> str | None:
        """Refuse weights of which nothing, or everything, would be pruned."""
        size = shape[0] * shape[1]
        n_pruned = round(self.sparsity * size)
        if 0 < n_pruned < size:
            return None
        return (
            f"`0 < round(sparsity * size) < size` must hold, but sparsity={self.sparsity:g} of "
            f"{size} elements prunes {n_pruned}"
        )

    def factor_shapes(self, shape: Shape, integers: Mapping[str, Matrix]) -> dict[str, Shape]:
        """Return the one factor's shape."""
        del integers
        return {"weight": shape}

    def factorize(
        self, weight: Matrix, row_frequencies: NDArray[np.float64] | None
    ) -> dict[str, Factor]:
        """Set the smallest magnitudes to zero."""
        n_pruned = round(self.sparsity * weight.size)
        mask = np.ones(weight.shape, dtype=np.bool_)
        mask.flat[np.argsort(np.abs(weight), axis=None, kind="stable")[:n_pruned]] = False
        values = np.where(mask, weight, np.float32(0))
        return {"weight": Factor(values, mask=mask, row_frequencies=row_frequencies)}

    def reconstruct(self, factors: Mapping[str, Matrix]) -> Matrix:
        """Return the factor itself, zeros included."""
        return factors["weight"]
