"""GroupReduce: rows in blocks by frequency, each block with a low rank of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from autocompress.structures.arrays import interleaved, whole
from autocompress.structures.base import STRUCTURES, Structure
from autocompress.structures.factors import Curvature, Factor, Matrix, Shape
from autocompress.structures.markers import Share
from autocompress.structures.row_groups import (
    Floats,
    Groups,
    Indices,
    ParameterBudget,
    Rows,
    by_frequency,
    fit,
    reduced,
    refined,
    slices,
    weighted_gram,
)
from autocompress.structures.thin import Thin

_SCALE_STEPS = 60


@STRUCTURES.register("group_reduce")
class GroupReduce(Structure):
    """Cuts the rows into blocks by frequency and factorises each by a weighted SVD [1].

    A row that is used n_i times has the weight q_i = n_i + 1, so that rows which were never seen
    still count; without frequencies all weights are one, and the blocks follow the order of rows.

    1. Rows are sorted by frequency and cut into `blocks` blocks of equal size.
    2. A block gets the rank `r * (q_b / q_min)^exponent` for the mean weight q_b of its rows and
       the least such mean q_min; at least `floor`, at most its number of rows or the width. An
       exponent of 1 is the rule of [1], but word counts differ by factors of thousands, so that
       it leaves next to nothing for rare words; 0 gives all blocks one rank. The scale r is the
       largest with which the factors have no more parameters than a `LowRank` of `rank`; it need
       not be whole.
    3. Each block is stored as `left @ right` that minimises the weighted error
       `sum_i q_i ||a_i - left_i right||^2`: the SVD of the rows times sqrt(q_i), truncated, the
       rows divided by sqrt(q_i) again.
    4. In each of `rounds` rounds, rows move to the block whose row space leaves the least
       weighted residual; only the tenth with the largest gains moves, then blocks are fitted
       anew. Rows pay for the rank of their block, at the lowest price that keeps the parameters
       within the budget: otherwise all would crowd into the block of the largest rank. A round
       that does not lower the weighted error is undone and is the last, as is one with fewer than
       five candidates.

    The block of each row costs bits too. It is stored as the difference to that of the row above
    modulo the number of blocks, which is nearly free for a vocabulary in order of frequency, and
    at most log2(blocks) bits a row. It is not part of the budget.

    Time is that of a Gram matrix, plus for every round one projection onto all row spaces and the
    Gram matrices of what moved. Beside the weight, memory holds the factors, one Gram matrix per
    block, one residual per row and block, and one chunk of 8192 rows in float64. Where there are
    more columns than rows, the weight is first reduced to a square by a QR decomposition.

    Attributes:
        blocks: Number of blocks c.
        rank: Average rank: the parameters are at most `rank * (rows + cols)`.
        exponent: How strongly ranks follow frequencies; 1 is the rule of [1].
        floor: Least rank of a block.
        rounds: Most rounds of refinement.

    References:
        [1] P. Chen, S. Si, Y. Li, C. Chelba, C. Hsieh. GroupReduce: Block-Wise Low-Rank
            Approximation for Neural Language Model Shrinking. NeurIPS 2018, arXiv 1806.06950.
    """

    kind: Literal["group_reduce"] = "group_reduce"
    since: ClassVar[str] = "0.1.0"
    prunable: ClassVar[bool] = True
    blocks: Annotated[int, Field(ge=1)] = 5
    rank: Annotated[int, Field(ge=1), Share()]
    exponent: Annotated[float, Field(ge=0, le=1)] = 0.5
    floor: Annotated[int, Field(ge=1)] = 1
    rounds: Annotated[int, Field(ge=0)] = 2

    def label(self) -> str:
        """Return blocks, rank, exponent and, where it is not 1, the least rank, and rounds."""
        floor = f" floor {self.floor}" if self.floor != 1 else ""
        return (
            f"{self.blocks} groups rank {self.rank} rows^{self.exponent:.2g}{floor} "
            f"rounds {self.rounds}"
        )

    def in_words(self) -> str:
        """Return the blocks and the rank; what else there is stands in the plan."""
        return f"rank {self.rank} on average in {self.blocks} groups of rows by frequency"

    def misfit(self, shape: Shape) -> str | None:
        """Refuse vectors, ranks and blocks above the shape, and floors above the budget."""
        rows, cols = shape
        if min(shape) == 1:
            return f"group_reduce needs a matrix, but the shape is {shape}"
        if self.rank > min(shape):
            return (
                f"`1 <= rank <= {min(shape)}` must hold for shape {shape}, but got "
                f"rank={self.rank}"
            )
        if self.blocks > rows:
            return (
                f"`1 <= blocks <= {rows}` must hold for shape {shape}, but got "
                f"blocks={self.blocks}"
            )
        least, budget = self.floor * (rows + self.blocks * cols), self._parameters(shape)
        if least > budget:
            return (
                "`floor * (rows + blocks * cols) <= rank * (rows + cols)` must hold, but "
                f"floor={self.floor}, blocks={self.blocks} and rank={self.rank} give {least} > "
                f"{budget} for shape {shape}"
            )
        return None

    def integer_shapes(self, shape: Shape) -> dict[str, Shape]:
        """Return the shapes of `assignment` (1, rows) and `ranks` (1, blocks).

        `assignment` holds the block of each row minus that of the row above (the first: minus
        zero), modulo the number of blocks; a block that lost all rows has rank zero.
        """
        return {"assignment": (1, shape[0]), "ranks": (1, self.blocks)}

    def factor_shapes(self, shape: Shape, integers: Mapping[str, Matrix]) -> dict[str, Shape]:
        """Return the shapes of `left0` (rows of block 0, its rank), `right0` (rank, cols), ...

        Blocks without rows have no factors.
        """
        self._check_integers(shape, integers)
        sizes = np.bincount(self.assignment(integers), minlength=self.blocks).tolist()
        ranks = integers["ranks"].ravel().astype(np.int64).tolist()
        shapes: dict[str, Shape] = {}
        for block, (size, rank) in enumerate(zip(sizes, ranks, strict=True)):
            if not min(size, 1) <= rank <= min(size, shape[1]):
                raise ValueError(
                    f"block {block} of {size} rows and {shape[1]} columns cannot have rank {rank}"
                )
            if size:
                shapes |= {f"left{block}": (size, rank), f"right{block}": (rank, shape[1])}
        return shapes

    def factorize(
        self,
        weight: Matrix,
        row_frequencies: Floats | None,
        curvature: Curvature | None = None,
    ) -> dict[str, Factor]:
        """Partition, fit and refine; each left factor has the frequencies of its rows."""
        del curvature
        n_rows = weight.shape[0]
        weights = np.ones(n_rows) if row_frequencies is None else row_frequencies + 1.0
        rows, rotation = reduced(weight)
        budget = ParameterBudget(self._parameters(weight.shape), weight.shape[1])
        groups = self._fitted(rows, weights, budget)
        factors = {
            "assignment": _integers(np.diff(groups.assignment, prepend=0) % self.blocks),
            "ranks": _integers(groups.ranks),
        }
        for block, basis in enumerate(groups.bases):
            members = groups.members(block)
            if not members.size:
                continue
            left, right = _balanced(rows, weights, members, basis)
            right = right if rotation is None else right @ rotation.T
            counts = None if row_frequencies is None else row_frequencies[members]
            factors[f"left{block}"] = Factor(left, row_frequencies=counts)
            factors[f"right{block}"] = Factor(right.astype(np.float32))
        return factors

    def reconstruct(self, factors: Mapping[str, Matrix]) -> Matrix:
        """Return the rows of all blocks, each `left @ right`, in their places."""
        assignment = self.assignment(factors)
        blocks = np.unique(assignment).tolist()
        parts = [factors[f"left{block}"] @ factors[f"right{block}"] for block in blocks]
        return interleaved(parts, [np.flatnonzero(assignment == block) for block in blocks])

    def thin(self, factors: Mapping[str, Any]) -> Thin:
        """Return a block of rows for each block that has any."""
        assignment = self.assignment(factors)
        blocks = np.unique(assignment).tolist()
        places = np.argsort(np.argsort(assignment, kind="stable"), kind="stable")
        return Thin(
            [factors[f"left{block}"] for block in blocks],
            [factors[f"right{block}"] for block in blocks],
            None if (np.diff(places) == 1).all() else places,
        )

    def _parameters(self, shape: Shape) -> int:
        return self.rank * (shape[0] + shape[1])

    def assignment(self, integers: Mapping[str, Any]) -> Indices:
        """Return the block of each row, int64 of shape (rows,)."""
        return np.cumsum(whole(integers["assignment"])) % self.blocks

    def _check_integers(self, shape: Shape, integers: Mapping[str, Matrix]) -> None:
        for name, expected in self.integer_shapes(shape).items():
            if integers[name].shape != expected:
                raise ValueError(f"`{name}` must be {expected}, not {integers[name].shape}")
        differences = integers["assignment"]
        if not ((differences >= 0) & (differences < self.blocks)).all():
            raise ValueError(
                f"`0 <= assignment < {self.blocks}` must hold, but it goes from "
                f"{differences.min():g} to {differences.max():g}"
            )

    def _fitted(self, rows: Rows, weights: Floats, budget: ParameterBudget) -> Groups:
        """Return the refined partition with its row spaces."""
        assignment = by_frequency(weights, self.blocks)
        grams = [
            weighted_gram(rows, weights, np.flatnonzero(assignment == block))
            for block in range(self.blocks)
        ]
        groups = fit(grams, assignment, self._ranks(assignment, weights, budget))
        if self.rounds and self.blocks > 1:
            groups = refined(rows, weights, groups, grams, budget, self.rounds)
        return groups

    def _ranks(self, assignment: Indices, weights: Floats, budget: ParameterBudget) -> Indices:
        """Return the rank of each block, int64 of shape (blocks,), the largest that fit."""
        sizes = np.bincount(assignment, minlength=self.blocks)
        means = np.bincount(assignment, weights, minlength=self.blocks) / sizes
        ratios = (means / means.min()) ** self.exponent
        most = np.minimum(sizes, budget.cols)

        def ranks(scale: float) -> Indices:
            wanted: Indices = np.maximum(scale * ratios, self.floor).astype(np.int64)
            return np.minimum(wanted, most)

        low, high = 0.0, float(budget.cols)
        if budget.admits(assignment, ranks(high)):
            return ranks(high)
        for _ in range(_SCALE_STEPS):
            middle = (low + high) / 2
            if budget.admits(assignment, ranks(middle)):
                low = middle
            else:
                high = middle
        return ranks(low)


def _integers(values: Indices) -> Factor:
    return Factor(values[None, :].astype(np.float32), integers=True)


def _balanced(
    rows: Rows, weights: Floats, members: Indices, basis: Floats
) -> tuple[Matrix, Floats]:
    """Return factors of shapes (members, rank), (rank, cols) of the rows in a row space.

    The weighted singular values are split evenly over both, for weights of mean one: with equal
    weights, columns of `left` are as long as rows of `right`.
    """
    left = np.empty((members.size, basis.shape[1]), dtype=np.float32)
    squares = np.zeros(basis.shape[1])
    for where in slices(members.size):
        part = members[where]
        projected = rows[part].astype(np.float64) @ basis
        squares += weights[part] @ np.square(projected)
        left[where] = projected
    norms = (squares / weights[members].mean()) ** 0.25
    left /= np.where(norms > 0, norms, 1.0).astype(np.float32)
    return left, (basis * norms).T
