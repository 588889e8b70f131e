"""Gradual pruning: how sparse a model is on its way."""

from __future__ import annotations

_RAMP = 0.3


def ramp(done: float, start: float) -> float:
    """Return how far the ramp of pruning is; at least 1 at its end.

    Args:
        done: Share of the training budget that is used up.
        start: The share at which pruning began. The ramp takes 30 % of the rest.
    """
    return (done - start) / (_RAMP * (1 - start))


def share_of_sparsity(progress: float) -> float:
    """Return the share of the final sparsity at a point of the ramp, rising fast, then slowly.

    References:
        M. Zhu, S. Gupta. To Prune, or Not to Prune. 2017, arXiv 1710.01878, eq. 1 with an
        initial sparsity of zero.
    """
    return 1 - (1 - min(max(progress, 0.0), 1.0)) ** 3
