"""Linear maps in the form in which they run: dense, or as the factors that are stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autocompress.artifact import Artifact
from autocompress.artifact.records import ItemRecord
from autocompress.engines.onnx.graph import Graph
from autocompress.engines.onnx.weights import Dense, Map
from autocompress.engines.torch.factored import operators_of
from autocompress.layers.operators import GroupedOperator, LowRankOperator
from autocompress.plan import Runtime
from autocompress.structures import matrix_shape

_COST_OF_REORDERING = 200
"""Multiplications that take as long as moving one number to its place (measured: 8 ns each)."""


@dataclass(frozen=True)
class LowRankMap(Map):
    """Two thin products; the first is made once for all weights of a site.

    Attributes:
        left: (rows, rank).
        right: (rank, cols).
        is_tied: Whether the same rows are both looked up and multiplied.
    """

    left: Dense
    right: Dense
    is_tied: bool = False

    def times(self, graph: Graph, x: str, bias: str | None = None) -> str:
        """Project, then expand."""
        return self.left.times(graph, self.right.times(graph, x), bias)

    def rows(self, graph: Graph, ids: str) -> str:
        """Look rows of the left factor up and multiply them by the right one.

        Looking decoded rows up is faster, and done unless it would take twice as many numbers.
        """
        left, right = self.left, self.right
        decoded = left.matrix @ right.matrix
        if not self.is_tied and decoded.size < 2 * (left.matrix.size + right.matrix.size):
            return Dense(f"{left.name}/decoded", decoded, left.runtime).rows(graph, ids)
        backwards = Dense(f"{right.name}/backwards", right.matrix.T, right.runtime)
        return backwards.times(graph, left.rows(graph, ids))

    def permuted(self, order: NDArray[np.int64]) -> LowRankMap:
        """Permute the left factor."""
        return replace(self, left=self.left.permuted(order))


@dataclass(frozen=True)
class GroupedMap(Map):
    """GroupReduce: blocks of rows, each with two thin products of its own.

    Attributes:
        lefts: Per block, (rows of the block, rank).
        rights: Per block, (rank, cols).
        order: Where each row lies if the blocks are put one after another.
        block: The block of each row.
    """

    lefts: tuple[Dense, ...]
    rights: tuple[Dense, ...]
    order: NDArray[np.int64]
    block: NDArray[np.int64]

    @property
    def is_ordered(self) -> bool:
        """Whether the blocks lie one after another as it is."""
        return bool((np.diff(self.order) == 1).all())

    def times(self, graph: Graph, x: str, bias: str | None = None) -> str:
        """Multiply by each block, and put the rows in their places."""
        pairs = zip(self.lefts, self.rights, strict=True)
        parts = [left.times(graph, right.times(graph, x)) for left, right in pairs]
        joined = graph.one("Concat", parts, axis=-1) if len(parts) > 1 else parts[0]
        if not self.is_ordered:
            order = graph.constant(f"{self.lefts[0].name}/order", self.order)
            joined = graph.one("Gather", [joined, order], axis=-1)
        return graph.one("Add", [joined, bias]) if bias else joined

    def rows(self, graph: Graph, ids: str) -> str:
        """Multiply a row of the left factors by the right one of its block.

        All blocks are padded with zeros to the largest rank, so that one product serves them all.
        """
        name, cols = self.lefts[0].name, self.rights[0].matrix.shape[1]
        rank = max(left.matrix.shape[1] for left in self.lefts)
        gaps = [rank - left.matrix.shape[1] for left in self.lefts]
        wide = [
            np.pad(left.matrix, ((0, 0), (0, gap)))
            for left, gap in zip(self.lefts, gaps, strict=True)
        ]
        left = Dense(f"{name}/rows", np.concatenate(wide)[self.order], self.lefts[0].runtime)
        rights = np.zeros((len(self.rights), rank, cols), np.float32)
        for right, padded in zip(self.rights, rights, strict=True):
            padded[: len(right.matrix)] = right.matrix
        stack = graph.constant(f"{name}/rights", rights)
        blocks = graph.constant(f"{name}/block", self.block)
        right_of = graph.one("Gather", [stack, graph.one("Gather", [blocks, ids])])
        axis = graph.constant("second_last", np.array([-2], np.int64))
        row = graph.one("Unsqueeze", [left.rows(graph, ids), axis])
        return graph.one("Squeeze", [graph.one("MatMul", [row, right_of]), axis])

    def permuted(self, order: NDArray[np.int64]) -> GroupedMap:
        """Change the places alone."""
        return replace(self, order=self.order[order], block=self.block[order])


def maps_of(artifact: Artifact, runtime: Runtime | None = None) -> Mapping[str, Map]:
    """Return every matrix of an artifact by its names, tied ones under each.

    Low rank and GroupReduce run as they are stored where that takes less time; all else is
    decoded.

    Args:
        artifact: The artifact.
        runtime: In what numbers all run, or None for what their treatments say.
    """
    return {
        name: found
        for item, factors in artifact.factors()
        for name, found in _maps(item, factors, runtime or item.treatment.runtime)
    }


def _maps(
    item: ItemRecord, factors: Mapping[str, NDArray[np.float32]], runtime: Runtime
) -> Iterator[tuple[str, Map]]:
    operators = dict(operators_of(item, factors))
    matrix, first = item.treatment.structure.reconstruct(factors), 0
    for member in item.members:
        last = first + matrix_shape(member.shape)[0]
        names = (member.name, *member.aliases)
        operator = operators.get(member.name)
        is_tied = len(names) > 1
        found: Map = Dense(member.name, matrix[first:last], runtime, is_tied=is_tied)
        if isinstance(operator, LowRankOperator):
            left, right = operator.left.numpy(), operator.projection.right.numpy()
            found = LowRankMap(
                Dense(f"{member.name}/left", left, runtime),
                Dense(f"{item.name}/right", right, runtime),
                is_tied,
            )
        elif isinstance(operator, GroupedOperator):
            grouped = _grouped(member.name, operator, runtime)
            cost = operator.multiplications + _COST_OF_REORDERING * (last - first)
            if grouped.is_ordered or cost < matrix.size:
                found = grouped
        first = last
        yield from ((name, found) for name in names)


def _grouped(name: str, operator: GroupedOperator, runtime: Runtime) -> GroupedMap:
    def named(kind: str, matrices: object) -> tuple[Dense, ...]:
        assert isinstance(matrices, list)
        return tuple(
            Dense(f"{name}/{kind}{number}", matrix.detach().numpy(), runtime)
            for number, matrix in enumerate(matrices)
        )

    return GroupedMap(
        named("left", list(operator.lefts)),
        named("right", list(operator.rights)),
        operator.order.numpy(),
        operator.block.numpy(),
    )
