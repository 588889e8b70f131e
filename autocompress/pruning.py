"""Global pruning: one threshold over many weights, as a sparsity for each of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from autocompress.errors import PlanError


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
