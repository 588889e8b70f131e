"""Low rank of large weights, block by block: nothing of their size in double precision."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from autocompress.structures.factors import AT_ONCE, Curvature, Matrix, Shape
from autocompress.structures.roots import Root

_WIDEST = 2**15
_AT_ONCE = 2**18
_LEAST = 1e-12

Floats = NDArray[np.float64]


def is_large(shape: Shape) -> bool:
    """Whether a weight of this shape is to be gone through block by block."""
    return shape[0] * shape[1] > AT_ONCE or shape[1] > _WIDEST


def fitted(
    weight: Matrix, known: tuple[Curvature, Root] | None, rank: int
) -> tuple[Matrix, Matrix, Floats]:
    """Return the best factors of a rank, by the smaller of both Gram matrices.

    Args:
        weight: Float32 of shape (rows, cols).
        known: A curvature and the root of its moment, by which errors are to count, or None: the
            singular values are then split evenly over both factors.
        rank: Of the factors.

    Returns:
        `left` (rows, rank) and `right` (rank, cols) in single precision, and float64 of shape
        (rank,): the squared singular values of what was fitted.
    """
    roots = None if known is None else np.sqrt(known[0].rows)
    root = Root(((slice(0, weight.shape[1]), np.ones(weight.shape[1])),))
    parts = _Parts(weight, root if known is None else known[1], roots)
    tall = weight.shape[0] >= weight.shape[1]
    values, vectors = np.linalg.eigh(parts.gram(tall=tall))
    energies, basis = np.maximum(values[::-1][:rank], 0), vectors[:, ::-1][:, :rank]
    norms = np.sqrt(np.maximum(energies, (energies[0] * _LEAST) or 1.0))
    if tall:
        basis = basis * np.where(basis.sum(axis=0) < 0, -1.0, 1.0)
        left, right = parts.times(basis), parts.root.undone(basis.T)
    else:
        right_basis = parts.back(basis / norms)
        signs = np.where(right_basis.sum(axis=0) < 0, -1.0, 1.0)
        left = basis * (signs * norms)
        if roots is not None:
            left /= roots[:, None]
        right = parts.root.undone((right_basis * signs).T)
    if known is None:
        split = np.sqrt(norms)
        left, right = left / split, right * split[:, None]
    return left.astype(np.float32), right.astype(np.float32), energies


class _Parts:
    """A weight times the root of a moment, its rows weighted, in blocks made as needed."""

    def __init__(self, weight: Matrix, root: Root, roots: Floats | None) -> None:
        self._weight, self.root, self._roots = weight, root, roots

    def gram(self, *, tall: bool) -> Floats:
        """Return that of the columns, (cols, cols), of a tall weight; else that of the rows."""
        size = self._weight.shape[1 if tall else 0]
        gram = np.zeros((size, size))
        for rows, _, block in self._blocks(tall=tall):
            block = self._weighted(block, rows)
            gram += block.T @ block if tall else block @ block.T
        return gram

    def times(self, basis: Floats) -> Matrix:
        """Return the rows, not weighted, times a basis of shape (cols, rank)."""
        product = np.empty((self._weight.shape[0], basis.shape[1]), np.float32)
        for rows, _, block in self._blocks(tall=True):
            product[rows] = block @ basis
        return product

    def back(self, vectors: Floats) -> Floats:
        """Return the transpose of the weighted rows times vectors of shape (rows, rank)."""
        product = np.empty((self._weight.shape[1], vectors.shape[1]))
        for rows, cols, block in self._blocks(tall=False):
            product[cols] = self._weighted(block, rows).T @ vectors
        return product

    def _weighted(self, block: Floats, rows: slice) -> Floats:
        return block if self._roots is None else block * self._roots[rows, None]

    def _blocks(self, *, tall: bool) -> Iterator[tuple[slice, slice, Floats]]:
        """Yield blocks of rows of a tall weight; of another one, blocks of columns."""
        n_rows, n_cols = self._weight.shape
        everything = slice(None)
        if tall:
            step = max(_AT_ONCE // n_cols, 1)
            for first in range(0, n_rows, step):
                rows = slice(first, first + step)
                yield rows, everything, self.root.after(self._weight[rows])
            return
        for cols, part in self.root.parts:
            step = n_cols if part.ndim == 2 else max(_AT_ONCE // n_rows, 1)
            for first in range(cols.start, cols.stop, step):
                some = slice(first, min(first + step, cols.stop))
                inner = slice(some.start - cols.start, some.stop - cols.start)
                root = part if part.ndim == 2 else part[inner]
                yield (
                    everything,
                    some,
                    Root(((slice(0, len(root)), root),)).after(self._weight[:, some]),
                )
