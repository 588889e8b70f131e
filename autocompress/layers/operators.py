"""Linear maps that run from the factors of a weight, and count what that takes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from autocompress.structures import GroupReduce, Matrix, Shape, TensorTrain
from autocompress.structures.tensor_train import paired_modes


class Operator(nn.Module, ABC):
    """A weight of shape (rows, cols), as something that multiplies vectors.

    A map may begin with a projection, which several maps of one vector can share: then `project`
    is done once, and each of them goes on with `expand`.

    Attributes:
        projection: What comes first, or None.
        multiplications: How many one vector takes, projection included.
    """

    projection: nn.Module | None
    multiplications: int

    def __init__(self) -> None:
        super().__init__()
        self.projection = None

    def project(self, x: Tensor) -> Tensor:
        """Do the first part of the map: (..., cols) to what `expand` takes."""
        return x if self.projection is None else self.projection(x)

    @abstractmethod
    def expand(self, x: Tensor) -> Tensor:
        """Do the rest of the map: to (..., rows)."""

    def forward(self, x: Tensor) -> Tensor:
        """Multiply vectors of shape (..., cols) to vectors of shape (..., rows)."""
        return self.expand(self.project(x))

    @abstractmethod
    def rows(self, ids: Tensor) -> Tensor:
        """Return rows of the weight, (..., cols), for int64 ids of any shape."""


class DenseOperator(Operator):
    """A weight that is decoded."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = _frozen(weight)
        self.multiplications = weight.numel()

    def expand(self, x: Tensor) -> Tensor:
        """Multiply by the weight."""
        return functional.linear(x, self.weight)

    def rows(self, ids: Tensor) -> Tensor:
        """Look the rows up."""
        return self.weight[ids]


class Projection(nn.Module):
    """The right factor of a low rank, which all weights of a site have in common."""

    def __init__(self, right: Matrix) -> None:
        super().__init__()
        self.right = _frozen(torch.tensor(right))

    def forward(self, x: Tensor) -> Tensor:
        """Project vectors of shape (..., cols) to (..., rank)."""
        return functional.linear(x, self.right)


class LowRankOperator(Operator):
    """Two thin products instead of one; `projection` may be that of other weights too."""

    projection: Projection

    def __init__(self, left: Matrix, projection: Projection) -> None:
        super().__init__()
        self.left = _frozen(torch.tensor(left))
        self.projection = projection
        self.multiplications = left.size + projection.right.numel()

    def expand(self, x: Tensor) -> Tensor:
        """Multiply projected vectors by the left factor."""
        return functional.linear(x, self.left)

    def rows(self, ids: Tensor) -> Tensor:
        """Multiply rows of the left factor by the right one."""
        rows: Tensor = self.left[ids] @ self.projection.right
        return rows


class GroupedOperator(Operator):
    """GroupReduce: each block of rows has a low rank of its own."""

    def __init__(self, structure: GroupReduce, factors: Mapping[str, Matrix]) -> None:
        super().__init__()
        assignment = structure.assignment(factors)
        blocks = np.unique(assignment)
        places = [np.flatnonzero(assignment == block) for block in blocks]
        self.lefts = nn.ParameterList(_frozen(torch.tensor(factors[f"left{b}"])) for b in blocks)
        self.rights = nn.ParameterList(_frozen(torch.tensor(factors[f"right{b}"])) for b in blocks)
        self.order: Tensor
        self.block: Tensor
        self.place: Tensor
        order = np.argsort(np.concatenate(places))
        place = np.concatenate([np.arange(where.size) for where in places])[order]
        self.register_buffer("order", torch.from_numpy(order))
        self.register_buffer("block", torch.from_numpy(np.searchsorted(blocks, assignment)))
        self.register_buffer("place", torch.from_numpy(place))
        self.multiplications = sum(part.numel() for part in self.parameters())

    def expand(self, x: Tensor) -> Tensor:
        """Multiply by each block, and put the rows in their places."""
        pairs = zip(self.lefts, self.rights, strict=True)
        parts = [functional.linear(functional.linear(x, right), left) for left, right in pairs]
        return torch.cat(parts, dim=-1)[..., self.order]

    def rows(self, ids: Tensor) -> Tensor:
        """Collect the rows block by block."""
        flat = ids.flatten()
        found = torch.empty(flat.numel(), self.rights[0].shape[1])
        for number, (left, right) in enumerate(zip(self.lefts, self.rights, strict=True)):
            where = self.block[flat] == number
            found[where] = left[self.place[flat[where]]] @ right
        return found.reshape(*ids.shape, -1)


class TensorTrainOperator(Operator):
    """A chain of cores, contracted with the vector one after the other."""

    def __init__(
        self, structure: TensorTrain, shape: Shape, factors: Mapping[str, Matrix]
    ) -> None:
        super().__init__()
        self._shape = shape
        self._row_modes, self._col_modes = paired_modes(shape, structure.modes)
        cores, rank = [], 1
        for k, (n, m) in enumerate(zip(self._row_modes, self._col_modes, strict=True), start=1):
            core = torch.tensor(factors[f"core{k}"])
            cores.append(_frozen(core.reshape(rank, n, m, -1)))
            rank = core.shape[1]
        self.cores = nn.ParameterList(cores)
        self.multiplications = self._count()

    def _count(self) -> int:
        total, done = 0, 1
        for k, core in enumerate(self.cores):
            total += done * core.numel() * math.prod(self._col_modes[k + 1 :])
            done *= core.shape[1]
        return total

    def expand(self, x: Tensor) -> Tensor:
        """Contract digit after digit: each column digit goes, and a row digit comes."""
        rows, cols = self._shape
        batch = x.shape[:-1].numel()
        padding = math.prod(self._col_modes) - cols
        vectors = functional.pad(x.reshape(batch, cols), (0, padding))
        for k, core in enumerate(self.cores):
            rest = math.prod(self._col_modes[k + 1 :])
            folded = vectors.reshape(-1, core.shape[0], core.shape[2], rest)
            vectors = torch.einsum("prmq,rnms->pnsq", folded, core)
        return vectors.reshape(batch, -1)[:, :rows].reshape(*x.shape[:-1], rows)

    def rows(self, ids: Tensor) -> Tensor:
        """Multiply the slices of the cores that the digits of the ids name."""
        flat = ids.flatten()
        chain = torch.ones(flat.numel(), 1, 1)
        place = math.prod(self._row_modes)
        for core in self.cores:
            place //= core.shape[1]
            slices = core[:, flat // place % core.shape[1]]
            chain = torch.einsum("bar,rbms->bams", chain, slices).flatten(1, 2)
        return chain.reshape(flat.numel(), -1)[:, : self._shape[1]].reshape(*ids.shape, -1)


def _frozen(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight, requires_grad=False)
