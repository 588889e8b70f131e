"""Magnitude pruning: the smallest elements become zero, and zeros cost next to nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from autocompress.errors import PlanError
from autocompress.registry import ByKind
from autocompress.structures.base import STRUCTURES, Structure
from autocompress.structures.dense import Dense
from autocompress.structures.factors import Curvature, Factor, Matrix, Shape
from autocompress.structures.thin import Thin

Prunable = Annotated[Structure, ByKind(STRUCTURES, accepts=lambda method: method.prunable)]


@STRUCTURES.register("pruned")
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
    since: ClassVar[str] = "0.1.0"
    sparsity: Annotated[float, Field(gt=0, lt=1)]
    of: Prunable = Dense()

    @property
    def base(self) -> Structure:
        """What is pruned."""
        return self.of.base

    @property
    def keeps_rows(self) -> bool:
        """Return what the inner structure does."""
        return self.of.keeps_rows

    def label(self) -> str:
        """Return "pruned", the share of zeros and, if it is not the weight, what is pruned."""
        inner = "" if isinstance(self.of, Dense) else f" {self.of.label()}"
        return f"pruned {self.sparsity:.0%}{inner}"

    def in_words(self) -> str:
        """Return the share of zeros and, if it is not the weight, what is pruned."""
        inner = "" if isinstance(self.of, Dense) else f", {self.of.in_words()}"
        return f"{self.sparsity:.0%} zeros{inner}"

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

    def thin(self, factors: Mapping[str, Any]) -> Thin | None:
        """Return what the inner structure does, zeros included."""
        return self.of.thin(factors)

    def multiplications(self, shape: Shape, factors: Mapping[str, Any]) -> int:
        """Return what the inner structure does: zeros are multiplied too."""
        return self.of.multiplications(shape, factors)

    def times(self, factors: Mapping[str, Any], x: Any) -> Any:
        """Return what the inner structure does."""
        return self.of.times(factors, x)

    def rows(self, factors: Mapping[str, Any], ids: Any) -> Any:
        """Return what the inner structure does."""
        return self.of.rows(factors, ids)

    def counted_bits(self, factor: str) -> float:
        """Return what the inner structure does."""
        return self.of.counted_bits(factor)


def pruned(factor: Factor, sparsity: float) -> Factor:
    """Return a factor without its smallest magnitudes; whole numbers stay as they are.

    At least one element survives, however small the factor.
    """
    size = factor.values.size
    if factor.integers or not size:
        return factor
    mask = _survivors(factor.values, min(round(sparsity * size), size - 1))
    return replace(factor, values=np.where(mask, factor.values, np.float32(0)), mask=mask)


def _survivors(values: Matrix, n_pruned: int) -> NDArray[np.bool_]:
    """Return where a matrix is not among its smallest magnitudes; of equal ones go the first."""
    if not n_pruned:
        return np.ones(values.shape, np.bool_)
    magnitudes = np.abs(values).ravel()
    magnitudes.partition(n_pruned - 1)
    threshold = magnitudes[n_pruned - 1]
    n_smaller = int(np.count_nonzero(magnitudes[: n_pruned - 1] < threshold))
    del magnitudes  # they may be many
    mask: NDArray[np.bool_] = (values > threshold) | (values < -threshold)
    equal = np.flatnonzero((values == threshold) | (values == -threshold))
    mask.flat[equal[n_pruned - n_smaller :]] = True
    return mask


def global_sparsities(
    weights: Mapping[str, NDArray[np.float32]], sparsity: float
) -> dict[str, float]:
    """Return by weight the share of its elements that are among the smallest of all.

    A plan carries it out as `Pruned(sparsity=...)` for each weight: then together exactly
    `round(sparsity * elements)` elements are zero. Magnitudes are compared as they are [1, 2];
    of equal ones, those of earlier weights are pruned first.

    Args:
        weights: Float32 arrays of any shape, by name.
        sparsity: Share of all elements to be pruned, in (0, 1).

    Raises:
        PlanError: If the sparsity is out of range, or a weight would lose all of its elements, or
            none; `Pruned` needs some of either.

    References:
        [1] S. Han, J. Pool, J. Tran, W. Dally. Learning both Weights and Connections for
            Efficient Neural Networks. NeurIPS 2015, arXiv 1506.02626.
        [2] M. Zhu, S. Gupta. To Prune, or Not to Prune. 2017, arXiv 1710.01878.
    """
    if not 0 < sparsity < 1:
        raise PlanError(f"`0 < sparsity < 1` must hold, but got sparsity={sparsity:g}")
    magnitudes = np.concatenate([np.abs(weight).ravel() for weight in weights.values()])
    owner = np.repeat(np.arange(len(weights)), [weight.size for weight in weights.values()])
    smallest = np.argsort(magnitudes, kind="stable")[: round(sparsity * magnitudes.size)]
    pruned = np.bincount(owner[smallest], minlength=len(weights)).tolist()
    for (name, weight), count in zip(weights.items(), pruned, strict=True):
        if not 0 < count < weight.size:
            raise PlanError(
                f"one threshold for a sparsity of {sparsity:g} prunes {count} of the "
                f"{weight.size} elements of '{name}'; leave it out, or prune it for itself"
            )
    return {
        name: count / weight.size
        for (name, weight), count in zip(weights.items(), pruned, strict=True)
    }
