"""Groups of rows with a row space each: how a weight is partitioned, fitted and refined.

The mathematics of `group_reduce`, apart from the format. Works chunk by chunk: a weight of 800,000
rows is never copied whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autocompress.structures.factors import Matrix

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Rows = NDArray[np.floating[Any]]

_CHUNK_ROWS = 8192
_SHARE_MOVED = 0.1
_FEWEST_CANDIDATES = 5
# Gains below this share of a row's norm are rounding: residuals are projected in float32.
_SMALLEST_GAIN = 1e-5
_PRICE_OCTAVES, _PRICE_STEPS = 40.0, 14


@dataclass(frozen=True)
class ParameterBudget:
    """How many parameters the factors of a weight with `cols` columns may have."""

    parameters: int
    cols: int

    def admits(self, assignment: Indices, ranks: Indices) -> bool:
        """Whether these blocks fit, their ranks capped by their sizes."""
        sizes = np.bincount(assignment, minlength=ranks.size)
        ranks = np.minimum(ranks, sizes)
        return int(sizes @ ranks + self.cols * ranks.sum()) <= self.parameters


@dataclass(frozen=True)
class Groups:
    """A partition of the rows, and the best row space of each block.

    Attributes:
        assignment: Int64 array of shape (rows,), the block of each row.
        ranks: Int64 array of shape (blocks,); zero for blocks without rows.
        bases: Float64 arrays of shape (cols, rank), orthonormal columns, one per block.
        error: The weighted squared error that all row spaces leave.
    """

    assignment: Indices
    ranks: Indices
    bases: tuple[Floats, ...]
    error: float

    def members(self, block: int) -> Indices:
        """Return the rows of a block in their order, int64 of shape (members,)."""
        return np.flatnonzero(self.assignment == block)


def slices(size: int) -> Iterator[slice]:
    """Cut so many rows into chunks of at most 8192."""
    return (slice(first, first + _CHUNK_ROWS) for first in range(0, size, _CHUNK_ROWS))


def by_frequency(weights: Floats, blocks: int) -> Indices:
    """Cut the rows, heaviest first, into blocks of equal size; int64 of shape (rows,)."""
    assignment = np.empty(weights.size, dtype=np.int64)
    order = np.argsort(-weights, kind="stable")
    assignment[order] = np.arange(weights.size) * blocks // weights.size
    return assignment


def reduced(weight: Matrix) -> tuple[Rows, Floats | None]:
    """Return rows, and a rotation where there are more columns than rows: rows @ rotation.T.

    The Gram matrices of the rows are then no larger than (rows, rows).
    """
    if weight.shape[0] >= weight.shape[1]:
        return weight, None
    rotation, triangle = np.linalg.qr(weight.T.astype(np.float64))
    return triangle.T, rotation


def weighted_gram(rows: Rows, weights: Floats, members: Indices) -> Floats:
    """Return the sum of `weight * row^T row` over the members, float64 of shape (cols, cols)."""
    gram = np.zeros((rows.shape[1], rows.shape[1]))
    for where in slices(members.size):
        part = members[where]
        chunk = rows[part].astype(np.float64)
        chunk *= np.sqrt(weights[part])[:, None]
        gram += chunk.T @ chunk
    return gram


def fit(grams: list[Floats], assignment: Indices, ranks: Indices) -> Groups:
    """Fit the row space of every block; ranks are capped by the blocks' sizes."""
    ranks = np.minimum(ranks, np.bincount(assignment, minlength=ranks.size))
    fits = [_row_space(gram, rank) for gram, rank in zip(grams, ranks.tolist(), strict=True)]
    bases = tuple(basis for basis, _ in fits)
    return Groups(assignment, ranks, bases, sum(error for _, error in fits))


def _row_space(gram: Floats, rank: int) -> tuple[Floats, float]:
    """Return the basis of the best row space, and the weighted error that it leaves.

    The sign of each vector is fixed, so that equal input gives equal bytes.
    """
    if rank == 0:
        return np.zeros((gram.shape[0], 0)), 0.0
    values, vectors = np.linalg.eigh(gram)
    basis = vectors[:, ::-1][:, :rank]
    basis = basis * np.where(basis.sum(axis=0) < 0, -1.0, 1.0)
    return basis, float(np.maximum(values[:-rank], 0).sum())


def refined(
    rows: Rows,
    weights: Floats,
    groups: Groups,
    grams: list[Floats],
    budget: ParameterBudget,
    rounds: int,
) -> Groups:
    """Move rows to better blocks while that lowers the error; updates `grams` in place."""
    energies = weights * _squared_norms(rows)
    for _ in range(rounds):
        residuals = _residuals(rows, weights, energies, groups.bases)
        assignment = _reassigned(residuals, energies, groups, budget)
        moved = np.flatnonzero(assignment != groups.assignment)
        if not moved.size:
            break
        for block, gram in enumerate(grams):
            gram += weighted_gram(rows, weights, moved[assignment[moved] == block])
            gram -= weighted_gram(rows, weights, moved[groups.assignment[moved] == block])
        candidate = fit(grams, assignment, groups.ranks)
        if candidate.error >= groups.error:
            break
        groups = candidate
    return groups


def _squared_norms(rows: Rows) -> Floats:
    """Return the squared norm of each row, float64 of shape (rows,)."""
    norms = [np.square(rows[part], dtype=np.float64).sum(axis=1) for part in slices(len(rows))]
    return np.concatenate(norms)


def _residuals(rows: Rows, weights: Floats, energies: Floats, bases: tuple[Floats, ...]) -> Floats:
    """Return what each row space leaves of each row, weighted; float64 of shape (rows, blocks)."""
    residuals = np.empty((rows.shape[0], len(bases)))
    singles = [basis.astype(np.float32) for basis in bases]
    for part in slices(rows.shape[0]):
        chunk = rows[part].astype(np.float32, copy=False)
        for block, basis in enumerate(singles):
            kept = np.square(chunk @ basis, dtype=np.float64).sum(axis=1)
            residuals[part, block] = energies[part] - weights[part] * kept
    return np.maximum(residuals, 0, out=residuals)


def _reassigned(
    residuals: Floats, energies: Floats, groups: Groups, budget: ParameterBudget
) -> Indices:
    """Return the block of each row after the best moves, at the lowest price of rank that fits."""

    def at(price: float) -> Indices:
        costs = residuals + price * groups.ranks
        return _moved(costs, _SMALLEST_GAIN * energies, groups.assignment)

    free = at(0.0)
    if budget.admits(free, groups.ranks):
        return free
    # At the highest price no row moves to a larger rank, so that the parameters cannot grow.
    highest = float(energies.max())
    low, high = -_PRICE_OCTAVES, 0.0
    best = at(highest)
    for _ in range(_PRICE_STEPS):
        middle = (low + high) / 2
        moved = at(highest * 2**middle)
        if budget.admits(moved, groups.ranks):
            high, best = middle, moved
        else:
            low = middle
    return best


def _moved(costs: Floats, tolerances: Floats, assignment: Indices) -> Indices:
    """Move the tenth of the candidates that gains most to the block of least cost."""
    everyone = np.arange(assignment.size)
    targets = costs.argmin(axis=1)
    gains = costs[everyone, assignment] - costs[everyone, targets]
    candidates = np.flatnonzero(gains > tolerances)
    if candidates.size < _FEWEST_CANDIDATES:
        return assignment
    count = math.ceil(_SHARE_MOVED * candidates.size)
    chosen = candidates[np.argsort(-gains[candidates], kind="stable")[:count]]
    moved = assignment.copy()
    moved[chosen] = targets[chosen]
    return moved
