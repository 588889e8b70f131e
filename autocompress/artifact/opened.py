"""The artifact: one file that holds a compressed model. Opens with numpy alone, without torch."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autocompress.artifact.assets import unpack_assets
from autocompress.artifact.buffers import unpack_buffers
from autocompress.artifact.container import Contents, read_container
from autocompress.artifact.decoding import decode_blocks, decode_factors, rebuilt
from autocompress.artifact.records import ItemRecord
from autocompress.artifact.report import WeightReport, report_item
from autocompress.errors import ArtifactError, PlanError
from autocompress.plan import CompressionPlan
from autocompress.structures import Matrix, matrix_shape, row_blocks, stacked_shape

_FEW = 2**21
"""Up to so many numbers of an entry are decoded once, and kept."""

Decoded = tuple[tuple[ItemRecord, Mapping[str, Matrix]], ...]


class Artifact:
    """An opened artifact. The file's bytes are in memory; weights are decoded when asked for.

    Attributes:
        path: The file.
        contents: Its parts, checked but not decoded.
    """

    def __init__(self, path: Path, contents: Contents) -> None:
        self.path = path
        self.contents = contents
        self._decoded: dict[str, Mapping[str, Matrix]] = {}

    @property
    def size_bytes(self) -> int:
        """Length of the file, in bytes."""
        return self.contents.size_bytes

    @property
    def plan(self) -> CompressionPlan:
        """The plan by which the file was made."""
        items = self.contents.header.items
        return CompressionPlan(treatments={item.name: item.treatment for item in items})

    @property
    def model_config(self) -> Mapping[str, Any] | None:
        """Description from which the model is built, or None for a user's own module."""
        return self.contents.header.model

    @property
    def source_sha256(self) -> str:
        """Hash of the model that was compressed."""
        return self.contents.header.source_sha256

    def assets(self) -> dict[str, bytes]:
        """Return the files that the artifact carries, such as a vocabulary, by name.

        Raises:
            ArtifactError: If one is damaged, or all together become more than 2^30 bytes.
        """
        return unpack_assets(self.contents.assets)

    def factors(self) -> Decoded:
        """Return all entries of the plan, each with the factors of its structure.

        They are decoded once and kept as long as the artifact; their arrays are read-only.

        Raises:
            ArtifactError: If a weight is damaged.
        """
        return tuple((item, self._kept(item)) for item in self.contents.header.items)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return all weights: float32 arrays (and buffers) under their state-dict names.

        The arrays are the caller's own, to be written to as well; tied names share one.

        Raises:
            ArtifactError: If a weight is damaged.
        """
        state = self.buffers()
        for item in self.contents.header.items:
            state |= self.members(item)
        return state

    def members(self, item: ItemRecord) -> dict[str, NDArray[np.float32]]:
        """Return the weights of an entry of the plan under their names, as `state_dict` does.

        Raises:
            ArtifactError: If a weight is damaged.
        """
        with self._decoding(item):
            shape = stacked_shape([member.shape for member in item.members])
        matrix: Matrix | None = None
        for rows, values in self.blocks(item):
            if matrix is None:
                matrix = values if len(values) == shape[0] else np.empty(shape, np.float32)
            if matrix is not values:
                matrix[rows] = values
        assert matrix is not None
        matrix = matrix if matrix.flags.writeable else matrix.copy()
        return dict(_apart(item, matrix))

    def weights(self) -> Iterator[tuple[str, Iterator[tuple[slice, Matrix]]]]:
        """Yield every weight by its first name, decoded by blocks of rows as they are asked for.

        Yields:
            The name, and the blocks, as `blocks` gives them.

        Raises:
            ArtifactError: If a weight is damaged.
        """
        for item in self.contents.header.items:
            if len(item.members) == 1:
                yield item.members[0].name, self.blocks(item)
                continue
            for name, values in self.members(item).items():
                matrix = values.reshape(matrix_shape(values.shape))
                if any(name == member.name for member in item.members):
                    yield name, iter([(slice(0, len(matrix)), matrix)])

    def blocks(self, item: ItemRecord) -> Iterator[tuple[slice, Matrix]]:
        """Decode the weight, or the stacked weights of a site, by blocks of rows.

        What has few numbers is kept as long as the artifact; large weights are decoded each time.

        Yields:
            The rows, and float32 of shape (rows of the block, cols), perhaps not to be written to.

        Raises:
            ArtifactError: If the weight is damaged.
        """
        n_numbers = sum(math.prod(member.shape) for member in item.members)
        if item.name in self._decoded or n_numbers <= _FEW:
            matrix = self.matrix(item, self._kept(item))
            yield slice(0, len(matrix)), matrix
            return
        blocks = decode_blocks(item, self.contents.items[item.name].data)
        while True:
            with self._decoding(item):
                found = next(blocks, None)
            if found is None:
                return
            self._check_finite(item, [found[1]])
            yield found

    def buffers(self) -> dict[str, NDArray[Any]]:
        """Return the tensors that are no weights, by name, exactly as they were.

        Raises:
            ArtifactError: If one is damaged.
        """
        return unpack_buffers(self.contents.buffers)

    def matrix(self, item: ItemRecord, factors: Mapping[str, Matrix]) -> Matrix:
        """Return the weight, or the stacked weights of a site, that factors of `factors()` make.

        The array may be one of the factors.

        Raises:
            ArtifactError: If the weight is damaged.
        """
        with self._decoding(item):
            matrix = rebuilt(item, factors)
        self._check_finite(item, [matrix])
        return matrix

    def report(self) -> list[WeightReport]:
        """Tell for every weight how it is stored and what it costs."""
        return [line for item in self.contents.header.items for line in report_item(item)]

    def accounting(self) -> dict[str, int]:
        """Say where every byte is: weights, assets, buffers; the rest is header and container."""
        parts = {
            "weights": self.contents.items,
            "assets": self.contents.assets,
            "buffers": self.contents.buffers,
        }
        account = {
            name: sum(tensor.nbytes for tensor in tensors.values())
            for name, tensors in parts.items()
        }
        return {**account, "header": self.size_bytes - sum(account.values())}

    def _kept(self, item: ItemRecord) -> Mapping[str, Matrix]:
        """Decode an entry once; it is kept as long as the artifact."""
        if item.name not in self._decoded:
            self._decoded[item.name] = self._factors(item)
        return self._decoded[item.name]

    def _factors(self, item: ItemRecord) -> Mapping[str, Matrix]:
        with self._decoding(item):
            factors = decode_factors(item, self.contents.items[item.name].data)
        self._check_finite(item, factors.values())
        for factor in factors.values():
            factor.flags.writeable = False
        return factors

    def _check_finite(self, item: ItemRecord, arrays: Iterable[Matrix]) -> None:
        blocks = (array[rows] for array in arrays for rows in row_blocks(array.shape))
        if not all(np.isfinite(block).all() for block in blocks):
            raise ArtifactError(
                f"{self.path}: item {item.name!r} is damaged: it decodes to NaN or infinity"
            )

    @contextmanager
    def _decoding(self, item: ItemRecord) -> Iterator[None]:
        """Make one error, on one line, of whatever is wrong with the bytes of an item."""
        try:
            with np.errstate(all="ignore"):  # what is not finite is refused
                yield
        except (ArtifactError, PlanError, ValueError, KeyError, IndexError) as error:
            reason = " ".join(str(error).split())
            raise ArtifactError(
                f"{self.path}: item {item.name!r} cannot be decoded: {reason}"
            ) from error


def _apart(item: ItemRecord, matrix: Matrix) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Take the weights of an entry apart; tied names share one."""
    first = 0
    for member in item.members:
        last = first + matrix_shape(member.shape)[0]
        values = matrix[first:last].reshape(member.shape)
        first = last
        for name in (member.name, *member.aliases):
            yield name, values


def open_artifact(path: str | os.PathLike[str]) -> Artifact:
    """Open a file that `autocompress.compress` or a search wrote.

    Raises:
        ArtifactError: If the file is missing, truncated, damaged, no artifact at all, or needs a
            later version of this package, or another package.
    """
    file = Path(path)
    return Artifact(file, read_container(file))
