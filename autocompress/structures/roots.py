"""Roots of second moments, by which a weight is turned so that all errors cost alike."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autocompress.structures.factors import Curvature

_DAMPING, _DAMPINGS = 1e-6, 6

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Root:
    """A lower triangular matrix L, such that L L^T is a moment, by the parts of that.

    Attributes:
        parts: The columns of each part, and its root; of shape (width,) where it is diagonal.
    """

    parts: Collection[tuple[slice, Floats]]

    def after(self, weight: NDArray[Any]) -> Floats:
        """Return `weight @ L`, float64 of the shape of the weight, (rows, cols)."""
        if len(self.parts) == 1:
            return _product(weight, next(iter(self.parts))[1])
        turned = np.empty(weight.shape)
        for cols, part in self.parts:
            turned[:, cols] = _product(weight[:, cols], part)
        return turned

    def undone(self, rows: Floats) -> Floats:
        """Return what `after` turns into these rows, float64 of shape (rows, cols)."""
        found = [undone(rows[:, cols], part) for cols, part in self.parts]
        return found[0] if len(found) == 1 else np.concatenate(found, axis=1)


def rooted(curvature: Curvature) -> tuple[Curvature, Root]:
    """Return a curvature, damped as little as it takes, and the Cholesky factor of its moment.

    A moment that was measured may be positive only up to the rounding of its sums, in single
    precision and of few vectors.

    Raises:
        ValueError: If the moment is not positive semidefinite.
    """
    curvature = curvature.balanced()
    for damping in (_DAMPING * 10.0**power for power in range(_DAMPINGS)):
        damped = curvature.damped(damping)
        try:
            return damped, Root(_parts(damped))
        except np.linalg.LinAlgError:
            continue
    lowest = min(_lowest(part) for _, part in damped.parts)
    raise ValueError(
        f"the moment must be positive semidefinite, but damped by {damping:g} of its diagonal it "
        f"still has the eigenvalue {lowest:.3g}"
    )


class _Parts(Collection[tuple[slice, Floats]]):
    """The roots of many parts, found whenever they are gone through."""

    def __init__(self, curvature: Curvature) -> None:
        self._curvature = curvature

    def __len__(self) -> int:
        return len(self._curvature.widths)

    def __contains__(self, part: object) -> bool:
        return any(part is one for one in self)

    def __iter__(self) -> Iterator[tuple[slice, Floats]]:
        return ((cols, _root(part)) for cols, part in self._curvature.parts)


def _parts(damped: Curvature) -> Collection[tuple[slice, Floats]]:
    """Return the roots of all parts; of a weight wider than tall they take half its memory."""
    if sum(damped.widths) <= len(damped.rows):
        return tuple((cols, _root(part)) for cols, part in damped.parts)
    for _, part in damped.parts:
        _root(part)  # which fails where the damping is too little
    return _Parts(damped)


def undone(rows: Floats, root: Floats) -> Floats:
    """Return what times a root of one part gives these rows, of shape (rows, width)."""
    if root.ndim == 1:
        return np.asarray(rows / root, np.float64)
    return np.asarray(np.linalg.solve(root.T, rows.T).T, np.float64)


def _product(weight: NDArray[Any], root: Floats) -> Floats:
    product: Floats = weight * root if root.ndim == 1 else weight @ root
    return product


def _root(part: NDArray[Any]) -> Floats:
    if part.ndim == 2:
        return np.linalg.cholesky(part.astype(np.float64, copy=False))
    if not (part > 0).all():
        raise np.linalg.LinAlgError
    root: Floats = np.sqrt(part)
    return root


def _lowest(part: NDArray[Any]) -> float:
    return float(part.min() if part.ndim == 1 else np.linalg.eigvalsh(part)[0])
