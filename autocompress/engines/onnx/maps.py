"""The weights of an artifact in the form in which they run: dense, or as thin products."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from autocompress.artifact import Artifact
from autocompress.artifact.records import ItemRecord
from autocompress.engines.onnx.thin import GroupedMap, LowRankMap
from autocompress.engines.onnx.weights import Dense, Map
from autocompress.errors import ArtifactError
from autocompress.plan import Runtime
from autocompress.structures import Matrix, Thin, matrix_shape, stacked_shape

_COST_OF_REORDERING = 200
"""Multiplications that take as long as moving one number to its place (measured: 8 ns each)."""


class Maps(Mapping[str, Map]):
    """Every weight of an artifact by its names, tied ones under each.

    What a structure presents as thin products runs as these where that takes less time; all else
    is decoded. A weight is made ready when it is first asked for.
    """

    def __init__(self, artifact: Artifact, runtime: Runtime | None = None) -> None:
        """Decode the factors.

        Args:
            artifact: The artifact.
            runtime: In what numbers all run, or None for what their treatments say.

        Raises:
            ArtifactError: If a weight is damaged.
        """
        self._path = artifact.path
        self._places: dict[str, _Place] = {}
        for item, factors in artifact.factors():
            entry, first = _Entry(artifact, item, factors, runtime or item.treatment.runtime), 0
            for number, member in enumerate(item.members):
                last = first + matrix_shape(member.shape)[0]
                place = _Place(entry, number, slice(first, last))
                self._places |= dict.fromkeys((member.name, *member.aliases), place)
                first = last

    def __getitem__(self, name: str) -> Map:
        return self._place(name).map

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def decoded(self, name: str) -> NDArray[np.float32]:
        """Return a weight decoded, of the tensor's own shape."""
        place = self._place(name)
        return place.matrix.reshape(place.shape)

    def exact(self, name: str) -> Dense:
        """Return a weight to run decoded and in single precision, whatever its treatment says."""
        return Dense(name, self._place(name).matrix)

    def _place(self, name: str) -> _Place:
        if name not in self._places:
            raise ArtifactError(
                f"'{self._path}' does not fit the model: it has no '{name}'; pass an artifact of "
                "this model"
            )
        return self._places[name]


@dataclass(frozen=True)
class _Entry:
    """An entry of the plan: one weight, or the stacked weights of a site."""

    artifact: Artifact
    item: ItemRecord
    factors: Mapping[str, Matrix]
    runtime: Runtime

    @cached_property
    def matrix(self) -> Matrix:
        """The stacked weights, decoded."""
        return self.artifact.matrix(self.item, self.factors)

    @cached_property
    def thin(self) -> Thin | None:
        """The thin products, where they take fewer multiplications than the decoded weights."""
        structure = self.item.treatment.structure
        return structure.thin(self.factors) if self.multiplications < self.size else None

    @cached_property
    def multiplications(self) -> int:
        return self.item.treatment.structure.multiplications(self._shape, self.factors)

    @property
    def size(self) -> int:
        """How many numbers the decoded weights have."""
        return self._shape[0] * self._shape[1]

    @property
    def _shape(self) -> tuple[int, int]:
        return stacked_shape([member.shape for member in self.item.members])


@dataclass(frozen=True)
class _Place:
    """Where a weight lies: in which entry, as which member, in which rows."""

    entry: _Entry
    number: int
    rows: slice

    @property
    def shape(self) -> tuple[int, ...]:
        return self.entry.item.members[self.number].shape

    @property
    def matrix(self) -> Matrix:
        return self.entry.matrix[self.rows]

    @cached_property
    def map(self) -> Map:
        """The weight as it runs."""
        entry, member = self.entry, self.entry.item.members[self.number]
        is_tied, thin = bool(member.aliases), entry.thin
        if thin is not None and len(thin.lefts) == 1:
            left = thin.lefts[0] if thin.order is None else thin.lefts[0][thin.order]
            return LowRankMap(
                Dense(f"{member.name}/left", left[self.rows], entry.runtime),
                Dense(f"{entry.item.name}/right", thin.rights[0], entry.runtime),
                is_tied,
            )
        if thin is not None and len(entry.item.members) == 1:
            grouped = _grouped(member.name, thin, entry.runtime)
            reordering = 0 if grouped.is_ordered else _COST_OF_REORDERING * len(grouped.order)
            if entry.multiplications + reordering < entry.size:
                return grouped
        return Dense(member.name, self.matrix, entry.runtime, is_tied=is_tied)


def _grouped(name: str, thin: Thin, runtime: Runtime) -> GroupedMap:
    def named(kind: str, matrices: Sequence[Matrix]) -> tuple[Dense, ...]:
        return tuple(
            Dense(f"{name}/{kind}{number}", matrix, runtime)
            for number, matrix in enumerate(matrices)
        )

    ends = np.cumsum([len(left) for left in thin.lefts])
    order = np.arange(ends[-1]) if thin.order is None else thin.order
    block = np.searchsorted(ends, order, side="right")
    return GroupedMap(named("left", thin.lefts), named("right", thin.rights), order, block)
