"""Thin products: how a weight multiplies without being decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from autocompress.structures.arrays import Indices, interleaved, joined, picked, whole


@dataclass(frozen=True)
class Thin:
    """A weight of shape (rows, cols) as blocks of rows, each the product of two thin factors.

    Attributes:
        lefts: Per block (rows of the block, rank), arrays or tensors; at least one.
        rights: Per block (rank, cols).
        order: Int64 array of shape (rows,): where each row lies if the blocks are put one after
            another; None where they lie in this order already.
    """

    lefts: Sequence[Any]
    rights: Sequence[Any]
    order: Indices | None = None

    @property
    def multiplications(self) -> int:
        """How many one vector takes: one for every number of the factors."""
        return sum(part.shape[0] * part.shape[1] for part in (*self.lefts, *self.rights))

    def times(self, x: Any) -> Any:
        """Multiply vectors: (..., cols) to (..., rows)."""
        parts = [x @ right.T @ left.T for left, right in zip(self.lefts, self.rights, strict=True)]
        rows = joined(parts) if len(parts) > 1 else parts[0]
        return rows if self.order is None else picked(rows, self.order)

    def rows(self, ids: Any) -> Any:
        """Return rows of the weight: int64 ids of any shape to (..., cols)."""
        if len(self.lefts) == 1 and self.order is None:
            return self.lefts[0][ids] @ self.rights[0]
        places = whole(ids).ravel()
        places = places if self.order is None else self.order[places]
        ends = list(accumulate(left.shape[0] for left in self.lefts))
        block = np.searchsorted(ends, places, side="right")
        members = [np.flatnonzero(block == number) for number in range(len(ends))]
        parts = []
        for left, right, end, member in zip(self.lefts, self.rights, ends, members, strict=True):
            parts.append(left[places[member] - (end - left.shape[0])] @ right)
        return interleaved(parts, members).reshape(*ids.shape, self.rights[0].shape[1])
