"""Weights that run as products of thin factors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autocompress.engines.onnx.graph import Graph
from autocompress.engines.onnx.weights import Dense, Map


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
    """Blocks of rows, each with two thin products of its own.

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
        # The ids get the further axis: a row that was found in 8 bits must be multiplied at once,
        # or ONNX Runtime refuses the model.
        last = graph.constant("last", np.array([-1], np.int64))
        row = left.rows(graph, graph.one("Unsqueeze", [ids, last]))
        axis = graph.constant("second_last", np.array([-2], np.int64))
        return graph.one("Squeeze", [graph.one("MatMul", [row, right_of]), axis])

    def permuted(self, order: NDArray[np.int64]) -> GroupedMap:
        """Change the places alone."""
        return replace(self, order=self.order[order], block=self.block[order])
