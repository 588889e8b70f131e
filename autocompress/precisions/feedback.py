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
    if curvature.moment.ndim == 1:
        return curvature
    return Curvature(curvature.rows, pivots(curvature.damped(DAMPING).moment)[1])
