"""From the bytes of an item to the factors of its structure, and to the weight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from autocompress.artifact.records import ItemRecord
from autocompress.artifact.streams import decode_stream
from autocompress.errors import ArtifactError, PlanError
from autocompress.precisions import Precision, Stream
from autocompress.structures import Matrix, Shape, row_blocks, stacked_shape
from autocompress.structures.factors import AT_ONCE

Bytes = bytes | memoryview

_AT_ONCE = 2**20


def decode_matrix(item: ItemRecord, data: Bytes) -> Matrix:
    """Decode an item's bytes to the weight, or the stacked weights of a site.

    Returns:
        Float32 of shape (rows of all members, cols).

    Raises:
        ArtifactError: If it has another shape than the members.
        PlanError, ValueError, KeyError, IndexError: If the bytes cannot have been written so.
    """
    return rebuilt(item, decode_factors(item, data))


def rebuilt(item: ItemRecord, factors: Mapping[str, Matrix]) -> Matrix:
    """Return what factors stand for: the weight, or the stacked weights of a site.

    Raises:
        ArtifactError: If it has another shape than the members.
        ValueError, KeyError, IndexError: If these cannot be factors of the structure.
    """
    weight = item.treatment.structure.reconstruct(factors)
    shape = stacked_shape([member.shape for member in item.members])
    if weight.shape != shape:
        raise ArtifactError(f"it decodes to shape {weight.shape} instead of {shape}")
    return np.where(item.is_zero[:, None], np.float32(0), weight) if item.zero_rows else weight


def decode_blocks(item: ItemRecord, data: Bytes) -> Iterator[tuple[slice, Matrix]]:
    """Decode an item's bytes to the weight, or the stacked weights of a site, by blocks of rows.

    Where the weight is a factor of its own and its precision can be taken apart, no more than a
    block is decoded at once; a large product of thin factors is multiplied block by block. Else
    the only block is the whole.

    Yields:
        The rows, and float32 of shape (rows of the block, cols).

    Raises:
        What `decode_matrix` does.
    """
    structure, precision = item.treatment.structure, item.treatment.precision
    shape = _fitting_shape(item)
    if not structure.is_weight:
        yield from _multiplied(item, decode_factors(item, data), shape)
        return
    ((name, _),) = structure.factor_shapes(shape, {}).items()
    streams = _Factors(item, data).streams(name, precision)
    zero = item.is_zero
    for rows in row_blocks(shape, _AT_ONCE):
        some = None if "mask" in streams else precision.streams_of(streams, shape, rows)
        if some is None:
            del streams  # they are large
            yield slice(0, shape[0]), decode_matrix(item, data)
            return
        n_rows = len(zero[rows])
        values = precision.decode(some, (n_rows, shape[1]), None)
        if values.shape != (n_rows, shape[1]):
            raise ArtifactError(f"it decodes to shape {values.shape} instead of {shape}")
        yield rows, np.where(zero[rows, None], np.float32(0), values)


def _multiplied(
    item: ItemRecord, factors: Mapping[str, Matrix], shape: Shape
) -> Iterator[tuple[slice, Matrix]]:
    """Yield the weight that factors stand for, by blocks of rows if it is large."""
    structure = item.treatment.structure
    thin = structure.thin(factors) if shape[0] * shape[1] > AT_ONCE else None
    if thin is None:
        yield slice(0, shape[0]), rebuilt(item, factors)
        return
    for rows in row_blocks(shape, AT_ONCE):
        yield rows, thin.rows(np.arange(rows.start, min(rows.stop, shape[0])))


def decode_factors(item: ItemRecord, data: Bytes) -> dict[str, Matrix]:
    """Decode an item's bytes to the factors of its structure, float32 each.

    Where these are blocks of thin factors, the rows of zeros that the record tells of are zero
    in the left factors already.

    Raises:
        PlanError: If the structure does not fit the members.
        ArtifactError, ValueError, KeyError, IndexError: If the bytes cannot have been written so.
    """
    structure, precision = item.treatment.structure, item.treatment.precision
    shape = _fitting_shape(item)
    reader = _Factors(item, data)
    integers = {
        name: reader.integers(name, factor_shape)
        for name, factor_shape in structure.integer_shapes(shape).items()
    }
    factors = {
        name: reader.numbers(name, factor_shape, precision)
        for name, factor_shape in structure.factor_shapes(shape, integers).items()
    }
    return _with_zeros(item, integers | factors) if item.zero_rows else integers | factors


def _fitting_shape(item: ItemRecord) -> Shape:
    shape = stacked_shape([member.shape for member in item.members])
    misfit = item.treatment.structure.misfit(shape)
    if misfit:
        raise PlanError(misfit)
    return shape


def _with_zeros(item: ItemRecord, factors: dict[str, Matrix]) -> dict[str, Matrix]:
    thin = item.treatment.structure.thin(factors)
    if thin is None:
        return factors
    zero = item.is_zero
    if thin.order is not None:
        zero[thin.order] = zero.copy()
    ends = np.cumsum([len(left) for left in thin.lefts])
    for left, rows in zip(thin.lefts, np.split(zero, ends[:-1]), strict=True):
        for name, factor in factors.items():
            if factor is left:
                factors[name] = np.where(rows[:, None], np.float32(0), factor)
    return factors


class _Factors:
    """Reads the factors of an item in the order in which they were written."""

    def __init__(self, item: ItemRecord, data: Bytes) -> None:
        self._item, self._data, self._offset = item, memoryview(data), 0

    def integers(self, name: str, shape: Shape) -> Matrix:
        """Read a factor of whole numbers."""
        return self._streams(name)["codes"].reshape(shape).astype(np.float32)

    def numbers(self, name: str, shape: Shape, precision: Precision) -> Matrix:
        """Read a factor that was stored in a precision."""
        streams = self.streams(name, precision)
        mask = streams.pop("mask", None)
        inside = None if mask is None else mask.reshape(shape).astype(np.bool_)
        return precision.decode(streams, shape, inside)

    def streams(self, name: str, precision: Precision) -> dict[str, Stream]:
        """Read the streams of a factor, as its precision takes them."""
        streams = self._streams(name)
        for key, stream in streams.items():
            if stream.dtype.kind == "i" and not precision.frugal:
                streams[key] = stream.astype(np.int64)
        return streams

    def _streams(self, name: str) -> dict[str, Stream]:
        streams = {}
        for record in self._item.factors[name]:
            last = self._offset + record.length
            streams[record.name] = decode_stream(record, self._data[self._offset : last])
            self._offset = last
        return streams
