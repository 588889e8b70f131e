"""Integers in adaptive contexts: what was decoded before tells how large the next will be."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import ClassVar

import constriction
import numpy as np
from numpy.typing import NDArray

from autocompress.coders.base import Codes
from autocompress.coders.expectation import MEANS, N_CONTEXTS, Expectation, by_context
from autocompress.coders.tables import Table
from autocompress.support.integers import AT_ONCE, Growing

_FEWEST_ROWS, _LARGEST = 32, 2**24
_WIDEST_TABLE = 4096
_WORD = 64
_LONGEST_TABLES = 2**20


class Levels:
    """How the magnitudes of a column become indices for the tables: as they are.

    Attributes:
        prior_columns: So many columns of the mean magnitude stand in for what a row has not told.
        shifts: By context, how many lower bits of an index are coded as they are.
        deflates: Whether means and tables are compressed, with their length before them.
        counts_zeros: Whether columns of zeros have a part in the tables, though none in the words.
    """

    deflates: ClassVar[bool] = False
    counts_zeros: ClassVar[bool] = True
    prior_columns: ClassVar[float] = 3.0
    shifts: ClassVar[NDArray[np.int64]] = np.clip(np.arange(N_CONTEXTS) // 2 - 10, 0, 20)

    def __init__(self, n_rows: int) -> None:
        del n_rows

    def contexts(self, found: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the contexts of a column, by those that expected magnitudes give."""
        return found

    def indices(self, magnitudes: NDArray[np.int64], contexts: NDArray[np.uint8]) -> Codes:
        """Turn magnitudes into indices.

        Raises:
            OffPathError: If a magnitude has none.
        """
        del contexts
        return magnitudes

    def magnitudes(self, indices: NDArray[np.int64], contexts: NDArray[np.uint8]) -> Codes:
        """Undo `indices`."""
        del contexts
        return indices

    def follow(self, indices: Codes) -> None:
        """Go on from a column to the next."""
        del indices


def suits(codes: Codes) -> bool:
    """Whether there are rows enough, and no integer is too large."""
    smallest, largest = int(codes.min()), int(codes.max())
    return codes.shape[0] >= _FEWEST_ROWS and -_LARGEST < smallest <= largest < _LARGEST


def encode(codes: Codes, kind: type[Levels]) -> bytes | None:
    """Return the columns' means, the tables and the coded words; None where a table is too wide.

    Args:
        codes: What `suits`.
        kind: What indices are.

    Raises:
        OffPathError: If a magnitude has no index.
    """
    codes = np.asfortranarray(codes)  # columns are gone through one by one
    levels = kind(codes.shape[0])
    means = np.searchsorted(MEANS, _column_means(codes)).clip(0, MEANS.size - 1)
    contexts = np.empty(codes.shape, dtype=np.uint8, order="F")
    expectation = Expectation(codes.shape[0], means, kind.prior_columns)
    counted = _Counts(kind)
    for columns in _column_blocks(codes.shape):
        indices = np.abs(codes[:, columns].astype(np.int64))
        for place, col in enumerate(range(columns.start, columns.stop)):
            magnitudes = indices[:, place].copy()
            contexts[:, col] = levels.contexts(expectation.contexts(col))
            expectation.learn(magnitudes)
            indices[:, place] = levels.indices(magnitudes, contexts[:, col])
            levels.follow(indices[:, place])
        kept = (means[columns] > 0) | kind.counts_zeros
        if kept.any():
            counted.add(indices[:, kept], contexts[:, columns][:, kept])
    tables = counted.tables()
    if max(table.levels.size for table in tables.values()) > _WIDEST_TABLE:
        return None
    coder = constriction.stream.stack.AnsCoder()
    # A stack: what is decoded first is encoded last.
    for col in (col for col in reversed(range(means.size)) if means[col]):
        _push(coder, codes[:, col].astype(np.int64), contexts[:, col], tables, levels)
    head = _head(means, tables, kind)
    del contexts, counted, expectation, tables  # they are large
    words = coder.get_compressed().astype("<u4", copy=False)
    del coder
    return b"".join([head, words.data])


def _push(
    coder: constriction.stream.stack.AnsCoder,
    column: NDArray[np.int64],
    contexts: NDArray[np.uint8],
    tables: dict[int, Table],
    levels: Levels,
) -> None:
    """Put a column on the stack, signs first."""
    negative = column[column != 0] < 0
    _encode_bits(coder, negative.astype(np.int64), 1)
    order, parts = by_context(contexts)
    indices = levels.indices(np.abs(column), contexts)[order]
    for context, part in reversed(parts):
        shift, own = int(levels.shifts[context]), indices[part]
        _encode_bits(coder, own & ((1 << shift) - 1), shift)
        tables[context].encode(coder, [own >> shift])


def decode(data: bytes | memoryview, shape: tuple[int, int], kind: type[Levels]) -> Codes:
    """Undo `encode`.

    Raises:
        struct.error, zlib.error, ValueError, IndexError, KeyError, AssertionError: If the bytes
            are damaged.
    """
    n_rows, n_cols = shape
    means, tables, offset = _read_head(data, n_cols, kind)
    coder = _stack(data, offset)
    levels, expectation = kind(n_rows), Expectation(n_rows, means, kind.prior_columns)
    codes = Growing(shape)
    for col in range(n_cols):
        if not means[col]:
            levels.follow(codes.array[:, col])
            continue
        contexts = levels.contexts(expectation.contexts(col))
        order, parts = by_context(contexts)
        indices = np.empty(n_rows, dtype=np.int64)
        for context, part in parts:
            shift, size = int(kind.shifts[context]), part.stop - part.start
            high = tables[context].decode(coder, size)
            indices[order[part]] = (high << shift) + _decode_bits(coder, size, shift)
        column = levels.magnitudes(indices, contexts)
        if indices.min() < 0 or column.max() >= _LARGEST:
            raise ValueError("an integer out of range")
        levels.follow(indices)
        expectation.learn(column)
        filled = np.flatnonzero(column)
        column[filled] *= 1 - 2 * _decode_bits(coder, filled.size, 1)
        codes.put((slice(None), col), column)
    return codes.array


def _head(means: NDArray[np.int64], tables: dict[int, Table], kind: type[Levels]) -> bytes:
    """Return the columns' means, which tables there are, and the tables."""
    present = sum(1 << context for context in tables).to_bytes(8 * _n_words(kind), "little")
    packed = (table.pack() for table in tables.values())
    head = b"".join([means.astype(np.uint8).tobytes(), present, *packed])
    if not kind.deflates:
        return head
    deflated = zlib.compress(head, 9)
    return struct.pack("<I", len(deflated)) + deflated


def _read_head(
    data: bytes | memoryview, n_cols: int, kind: type[Levels]
) -> tuple[NDArray[np.int64], dict[int, Table], int]:
    """Undo `_head`; return also where it ends."""
    head, end = data, 0
    if kind.deflates:
        (length,) = struct.unpack_from("<I", data)
        end = 4 + length
        inflating = zlib.decompressobj()
        head = inflating.decompress(data[4:end], n_cols + _LONGEST_TABLES)
        if not inflating.eof or inflating.unused_data or end > len(data):
            raise ValueError("tables that are cut off, or too long")
    means = np.frombuffer(head, dtype=np.uint8, count=n_cols).astype(np.int64)
    words = struct.unpack_from(f"<{_n_words(kind)}Q", head, n_cols)
    offset, tables = n_cols + 8 * len(words), {}
    for context in range(_WORD * len(words)):
        if words[context // _WORD] >> context % _WORD & 1:
            tables[context], offset = Table.unpack(head, offset)
    if kind.deflates and offset != len(head):
        raise ValueError("more than the tables")
    return means, tables, end or offset


def _n_words(kind: type[Levels]) -> int:
    return -(-kind.shifts.size // _WORD)


def _stack(data: bytes | memoryview, offset: int) -> constriction.stream.stack.AnsCoder:
    if (len(data) - offset) % 4:
        raise ValueError("wrong length")
    words = np.frombuffer(data, dtype="<u4", offset=offset).astype(np.uint32)
    return constriction.stream.stack.AnsCoder(words)  # which has a copy of its own


def _column_blocks(shape: tuple[int, int]) -> Iterator[slice]:
    step = max(AT_ONCE // shape[0], 1)
    return (slice(col, min(col + step, shape[1])) for col in range(0, shape[1], step))


def _column_means(codes: Codes) -> NDArray[np.float64]:
    """Return the mean magnitude of each column; the sums are exact."""
    sums = [
        np.abs(codes[:, columns].astype(np.int64)).sum(axis=0)
        for columns in _column_blocks(codes.shape)
    ]
    means: NDArray[np.float64] = np.concatenate(sums) / codes.shape[0]
    return means


class _Counts:
    """Counts the integers that are coded in each context."""

    def __init__(self, kind: type[Levels]) -> None:
        self._shifts = kind.shifts
        self._counts: dict[int, NDArray[np.int64]] = {}

    def add(self, indices: NDArray[np.int64], contexts: NDArray[np.uint8]) -> None:
        """Count those of some elements."""
        order, parts = by_context(contexts.ravel(order="F"))
        sorted_indices = indices.ravel(order="F")[order]
        for context, part in parts:
            found = np.bincount(sorted_indices[part] >> self._shifts[context])
            known = self._counts.get(context, np.zeros(0, np.int64))
            size = max(found.size, known.size)
            found, known = (np.pad(counts, (0, size - counts.size)) for counts in (found, known))
            self._counts[context] = found + known

    def tables(self) -> dict[int, Table]:
        """Return the table of each context that occurs, in their order."""
        tables = {}
        for context, counts in sorted(self._counts.items()):
            first = int(np.flatnonzero(counts)[0])
            tables[context] = Table.of_counts(first, counts[first:])
        return tables


def _encode_bits(coder: constriction.stream.stack.AnsCoder, message: Codes, bits: int) -> None:
    """Put integers in [0, 2^bits) on the stack, all equally probable."""
    if bits and message.size:
        coder.encode_reverse(message.astype(np.int32), _uniform(bits))


def _decode_bits(coder: constriction.stream.stack.AnsCoder, size: int, bits: int) -> Codes:
    """Take so many integers in [0, 2^bits) from the stack."""
    if not bits or not size:
        return np.zeros(size, dtype=np.int64)
    symbols: NDArray[np.int32] = coder.decode(_uniform(bits), size)
    return symbols.astype(np.int64)


def _uniform(bits: int) -> constriction.stream.model.Uniform:
    return constriction.stream.model.Uniform(1 << bits)
