"""Error feedback: what the error of one column costs where later columns make it good."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autocompress.structures.factors import Curvature

Floats = NDArray[np.float64]

DAMPING = 0.01


def pivots(moment: Floats) -> tuple[Floats, Floats]:
    """Return how each column's error is passed on, and what is left of the moment's diagonal.

    With the inverse moment as U^T U, U upper triangular, column j passes the share
    U[j, k] / U[j, j] of its error on to column k > j, and what cannot be made good costs
    1 / U[j, j]^2.
    """
    upper = np.linalg.cholesky(np.linalg.inv(moment)).T
    diagonal = np.diag(upper)
    return upper / diagonal[:, None], 1 / np.square(diagonal)


def without_feedback(curvature: Curvature) -> Curvature:
    """Return a curvature of the same steps, under which rounding is to the nearest level."""
    if curvature.is_diagonal:
        return curvature
    costs = [left for _, left in passed_on(curvature)]
    return Curvature(curvature.rows, costs[0] if len(costs) == 1 else np.concatenate(costs))


def passed_on(curvature: Curvature) -> list[tuple[Floats, Floats]]:
    """Return `pivots` of each part of a curvature's moment, which is none but diagonal."""
    damped = curvature.damped(DAMPING)
    return [pivots(part.astype(np.float64, copy=False)) for _, part in damped.parts]
