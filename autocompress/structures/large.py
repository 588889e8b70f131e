"""Low rank of large weights, block by block: nothing of their size in double precision."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from autocompress.structures.factors import AT_ONCE, Curvature, Matrix, Shape
from autocompress.structures.roots import Root, undone

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
    split = np.sqrt(norms) if known is None else np.ones(len(norms))
    if tall:
        basis = basis * np.where(basis.sum(axis=0) < 0, -1.0, 1.0)
        left = parts.times(basis) / split
        right = (parts.root.undone(basis.T) * split[:, None]).astype(np.float32)
    else:
        right, signs = parts.back(basis / norms, split)
        left = basis * (signs * norms)
        left = left / split if roots is None else left / roots[:, None]
    return left.astype(np.float32), right, energies


class _Parts:
    """A weight times the root of a moment, its rows weighted, in blocks made as needed."""

    def __init__(self, weight: Matrix, root: Root, roots: Floats | None) -> None:
        self._weight, self.root, self._roots = weight, root, roots

    def gram(self, *, tall: bool) -> Floats:
        """Return that of the columns, (cols, cols), of a tall weight; else that of the rows."""
        size = self._weight.shape[1 if tall else 0]
        gram = np.zeros((size, size))
        for rows, block in self._rows() if tall else ():
            block = self._weighted(block, rows)
            gram += block.T @ block
        for _, block, _ in () if tall else self._columns():
            block = self._weighted(block)
            gram += block @ block.T
        return gram

    def times(self, basis: Floats) -> Matrix:
        """Return the rows, not weighted, times a basis of shape (cols, rank)."""
        product = np.empty((self._weight.shape[0], basis.shape[1]), np.float32)
        for rows, block in self._rows():
            product[rows] = block @ basis
        return product

    def back(self, vectors: Floats, scales: Floats) -> tuple[Matrix, Floats]:
        """Return the right factor whose left one has vectors of shape (rows, rank).

        Returns:
            The transpose of the weighted rows times the vectors, undone, its rows scaled, of
            shape (rank, cols), and the signs, of shape (rank,), with which they were multiplied.
        """
        product = np.empty((vectors.shape[1], self._weight.shape[1]), np.float32)
        sums = np.zeros(vectors.shape[1])
        for cols, block, root in self._columns():
            found = self._weighted(block).T @ vectors
            sums += found.sum(axis=0)
            product[:, cols] = undone(found.T, root) * scales[:, None]
        signs = np.where(sums < 0, -1.0, 1.0)
        product *= signs[:, None].astype(np.float32)
        return product, signs

    def _weighted(self, block: Floats, rows: slice = slice(None)) -> Floats:
        return block if self._roots is None else block * self._roots[rows, None]

    def _rows(self) -> Iterator[tuple[slice, Floats]]:
        """Yield blocks of rows."""
        step = max(_AT_ONCE // self._weight.shape[1], 1)
        for first in range(0, len(self._weight), step):
            rows = slice(first, first + step)
            yield rows, self.root.after(self._weight[rows])

    def _columns(self) -> Iterator[tuple[slice, Floats, Floats]]:
        """Yield blocks of columns, and the root by which they are turned."""
        n_rows, n_cols = self._weight.shape
        for cols, part in self.root.parts:
            step = n_cols if part.ndim == 2 else max(_AT_ONCE // n_rows, 1)
            for first in range(cols.start, cols.stop, step):
                some = slice(first, min(first + step, cols.stop))
                inner = slice(some.start - cols.start, some.stop - cols.start)
                root = part if part.ndim == 2 else part[inner]
                turned = Root(((slice(0, len(root)), root),)).after(self._weight[:, some])
                yield some, turned, root
