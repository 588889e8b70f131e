"""Magnitude pruning: the smallest elements become zero, and zeros cost next to nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from autocompress.structures.base import Curvature, Factor, Matrix, Shape, Structure
from autocompress.structures.dense import Dense
from autocompress.structures.group_reduce import GroupReduce
from autocompress.structures.low_rank import LowRank
from autocompress.structures.tensor_train import TensorTrain

Prunable = Annotated[Dense | GroupReduce | LowRank | TensorTrain, Field(discriminator="kind")]


class Pruned(Structure):
    """Keeps the elements of largest magnitude of a weight, or of the factors of another structure.

    Of each factor `round(sparsity * size)` elements become zero and the others stay bit for bit
    [1]; pruning what is already decomposed is the third step of [2]. Where the zeros are is
    stored too, and counts: as a mask, or within the integers of a precision that has a level for
    zero. Of equal magnitudes, the earlier element is pruned.

    Attributes:
        sparsity: Share of zeros.
        of: What is pruned: the weight itself, or the factors of a decomposition.

    References:
        [1] S. Han, J. Pool, J. Tran, W. Dally. Learning both Weights and Connections for
            Efficient Neural Networks. NeurIPS 2015, arXiv 1506.02626.
        [2] A. Grachev, D. Ignatov, A. Savchenko. Compression of Recurrent Neural Networks for
            Efficient Language Modeling. Applied Soft Computing 2019, arXiv 1902.02380, sec. 4.4.
    """

    kind: Literal["pruned"] = "pruned"
    sparsity: Annotated[float, Field(gt=0, lt=1)]
    of: Prunable = Dense()

    @property
    def keeps_rows(self) -> bool:
        """Return what the inner structure does."""
        return self.of.keeps_rows

    def label(self) -> str:
        """Return "pruned", the share of zeros and, if it is not the weight, what is pruned."""
        inner = "" if isinstance(self.of, Dense) else f" {self.of.label()}"
        return f"pruned {self.sparsity:.0%}{inner}"

    def misfit(self, shape: Shape) -> str | None:
        """Refuse what the inner structure does, and weights of which nothing or all is pruned."""
        size = shape[0] * shape[1]
        n_pruned = round(self.sparsity * size)
        if not 0 < n_pruned < size:
            return (
                "`0 < round(sparsity * size) < size` must hold, but "
                f"sparsity={self.sparsity:g} of {size} elements prunes {n_pruned}"
            )
        return self.of.misfit(shape)

    def integer_shapes(self, shape: Shape) -> dict[str, Shape]:
        """Return what the inner structure does."""
        return self.of.integer_shapes(shape)

    def factor_shapes(self, shape: Shape, integers: Mapping[str, Matrix]) -> dict[str, Shape]:
        """Return what the inner structure does."""
        return self.of.factor_shapes(shape, integers)

    def factorize(
        self,
        weight: Matrix,
        row_frequencies: NDArray[np.float64] | None,
        curvature: Curvature | None = None,
    ) -> dict[str, Factor]:
        """Set the smallest magnitudes of each factor of the inner structure to zero."""
        factors = self.of.factorize(weight, row_frequencies, curvature)
        return {name: pruned(factor, self.sparsity) for name, factor in factors.items()}

    def reconstruct(self, factors: Mapping[str, Matrix]) -> Matrix:
        """Return what the inner structure does, zeros included."""
        return self.of.reconstruct(factors)


def pruned(factor: Factor, sparsity: float) -> Factor:
    """Return a factor without its smallest magnitudes; whole numbers stay as they are.

    At least one element survives, however small the factor.
    """
    if factor.integers:
        return factor
    mask = np.ones(factor.values.shape, dtype=np.bool_)
    order = np.argsort(np.abs(factor.values), axis=None, kind="stable")
    mask.flat[order[: min(round(sparsity * order.size), order.size - 1)]] = False
    return replace(factor, values=np.where(mask, factor.values, np.float32(0)), mask=mask)
