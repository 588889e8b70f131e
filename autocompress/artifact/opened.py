"""The artifact: one file that holds a compressed model. Opens with numpy alone, without torch."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autocompress.artifact.container import (
    Contents,
    ItemRecord,
    decode_stream,
    read_container,
    unpack_assets,
)
from autocompress.coders import CODERS
from autocompress.errors import ArtifactError, PlanError
from autocompress.plan import CompressionPlan
from autocompress.precisions import Precision, Stream
from autocompress.structures import Matrix, Shape, matrix_shape, stacked_shape


@dataclass(frozen=True)
class WeightReport:
    """How one weight is stored.

    Attributes:
        name: State-dict name of the weight.
        aliases: Names tied to it.
        shape: Shape of the tensor.
        site: Name of the site with whose other weights it shares factors, or None.
        structure: Label of the structure.
        precision: Label of the precision.
        coder: Names of the coders that wrote its integers, or "raw".
        size_bytes: Bytes in the file. Of factors that are shared over a site, each member
            carries the share of its rows.
        bits_per_weight: Eight times the bytes over the number of elements.
    """

    name: str
    aliases: tuple[str, ...]
    shape: tuple[int, ...]
    site: str | None
    structure: str
    precision: str
    coder: str
    size_bytes: float
    bits_per_weight: float


class Artifact:
    """An opened artifact. The file's bytes are in memory; weights are decoded when asked for.

    Attributes:
        path: The file.
        contents: Its parts, checked but not decoded.
    """

    def __init__(self, path: Path, contents: Contents) -> None:
        self.path = path
        self.contents = contents

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

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Decode all weights: float32 arrays (and buffers) under their state-dict names.

        Tied names share one array.

        Raises:
            ArtifactError: If a weight is damaged.
        """
        state = dict(self.contents.buffers)
        for item in self.contents.header.items:
            state |= dict(self._decode_item(item))
        return state

    def report(self) -> list[WeightReport]:
        """Tell for every weight how it is stored and what it costs."""
        return [line for item in self.contents.header.items for line in _report_item(item)]

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

    def factors(self) -> Iterator[tuple[ItemRecord, dict[str, Matrix]]]:
        """Decode all entries of the plan one by one, each to the factors of its structure.

        Raises:
            ArtifactError: If a weight is damaged.
        """
        for item in self.contents.header.items:
            with self._decoding(item) as data:
                factors = _decode_factors(item, data)
            self._check_finite(item, factors.values())
            yield item, factors

    def _decode_item(self, item: ItemRecord) -> Iterator[tuple[str, NDArray[np.float32]]]:
        with self._decoding(item) as data:
            matrix = decode_matrix(item, data)
        self._check_finite(item, [matrix])
        first = 0
        for member in item.members:
            last = first + matrix_shape(member.shape)[0]
            values = matrix[first:last].reshape(member.shape)
            first = last
            for name in (member.name, *member.aliases):
                yield name, values

    def _check_finite(self, item: ItemRecord, arrays: Iterable[Matrix]) -> None:
        if not all(np.isfinite(array).all() for array in arrays):
            raise ArtifactError(
                f"{self.path}: item '{item.name}' is damaged: it decodes to NaN or infinity"
            )

    @contextmanager
    def _decoding(self, item: ItemRecord) -> Iterator[bytes]:
        """Hand out the bytes of an item; whatever is wrong with them becomes one error."""
        where = f"{self.path}: item '{item.name}'"
        data = self.contents.items[item.name].tobytes()
        if zlib.crc32(data) != item.crc32:
            raise ArtifactError(f"{where} is damaged: its checksum does not match; copy it again")
        try:
            with np.errstate(all="ignore"):  # what is not finite is refused
                yield data
        except (ArtifactError, PlanError, ValueError, KeyError, IndexError) as error:
            raise ArtifactError(f"{where} cannot be decoded: {error}") from error


def open_artifact(path: str | os.PathLike[str]) -> Artifact:
    """Open a file that `autocompress.compress` or a search wrote.

    Raises:
        ArtifactError: If the file is missing, truncated, damaged, no artifact at all, or written
            by a later version of this package.
    """
    file = Path(path)
    return Artifact(file, read_container(file))


def decode_matrix(item: ItemRecord, data: bytes) -> Matrix:
    """Decode an item's bytes to the weight, or the stacked weights of a site.

    Returns:
        Float32 of shape (rows of all members, cols).

    Raises:
        ArtifactError: If it has another shape than the members.
        PlanError, ValueError, KeyError, IndexError: If the bytes cannot have been written so.
    """
    weight = item.treatment.structure.reconstruct(_decode_factors(item, data))
    shape = stacked_shape([member.shape for member in item.members])
    if weight.shape != shape:
        raise ArtifactError(f"it decodes to shape {weight.shape} instead of {shape}")
    return weight


def _decode_factors(item: ItemRecord, data: bytes) -> dict[str, Matrix]:
    structure, precision = item.treatment.structure, item.treatment.precision
    shape = stacked_shape([member.shape for member in item.members])
    misfit = structure.misfit(shape)
    if misfit:
        raise PlanError(misfit)
    decoder = _Factors(item, data)
    integers = {
        name: decoder.integers(name, factor_shape)
        for name, factor_shape in structure.integer_shapes(shape).items()
    }
    factors = {
        name: decoder.numbers(name, factor_shape, precision)
        for name, factor_shape in structure.factor_shapes(shape, integers).items()
    }
    return integers | factors


class _Factors:
    """Reads the factors of an item in the order in which they were written."""

    def __init__(self, item: ItemRecord, data: bytes) -> None:
        self._item, self._data, self._offset = item, data, 0

    def integers(self, name: str, shape: Shape) -> Matrix:
        """Read a factor of whole numbers."""
        return self._streams(name)["codes"].reshape(shape).astype(np.float32)

    def numbers(self, name: str, shape: Shape, precision: Precision) -> Matrix:
        """Read a factor that was stored in a precision."""
        streams = self._streams(name)
        mask = streams.pop("mask", None)
        inside = None if mask is None else mask.reshape(shape).astype(np.bool_)
        return precision.decode(streams, shape, inside)

    def _streams(self, name: str) -> dict[str, Stream]:
        streams = {}
        for record in self._item.factors[name]:
            last = self._offset + record.length
            streams[record.name] = decode_stream(record, self._data[self._offset : last])
            self._offset = last
        return streams


def _report_item(item: ItemRecord) -> Iterator[WeightReport]:
    streams = [stream for factor in item.factors.values() for stream in factor]
    total = sum(stream.length for stream in streams)
    coders_used = sorted({s.coder for s in streams if s.coder in CODERS})
    all_rows = sum(matrix_shape(member.shape)[0] for member in item.members)
    for member in item.members:
        size = total * matrix_shape(member.shape)[0] / all_rows
        yield WeightReport(
            name=member.name,
            aliases=member.aliases,
            shape=member.shape,
            site=item.name if len(item.members) > 1 else None,
            structure=item.treatment.structure.label(),
            precision=item.treatment.precision.label(),
            coder="+".join(coders_used) or "raw",
            size_bytes=size,
            bits_per_weight=8 * size / int(np.prod(member.shape)),
        )
