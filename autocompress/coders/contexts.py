"""Entropy coding in contexts: what was decoded before tells how large an integer will be."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from typing import ClassVar

import constriction
import numpy as np
from numpy.typing import NDArray

from autocompress.coders.base import CODERS, Coder, Codes
from autocompress.coders.tables import Table
from autocompress.errors import ArtifactError
from autocompress.support.integers import AT_ONCE, Growing

_FEWEST_ROWS, _LARGEST = 32, 2**24
_WIDEST_TABLE = 4096
_CONTEXTS = 56
# Probabilities depend on the arithmetic below, so that it is confined to what IEEE 754 rounds
# correctly: sums, products, quotients, and powers of two, in a fixed order.
_BOUNDS = np.array(
    [2.0 ** (half // 2 - 7) * (1, 1.4375)[half % 2] for half in range(_CONTEXTS - 1)]
)
_SHIFTS = np.clip(np.arange(_CONTEXTS) // 2 - 10, 0, 20)
_MEANS = np.array(
    [0.0] + [2.0 ** (i // 4 - 14) * (64, 76, 91, 108)[i % 4] / 64 for i in range(160)]
)
_WINDOW = 16
_PRIOR_COLUMNS = 3.0


@CODERS.register("contexts")
class ContextCoder(Coder):
    """Asymmetric numeral systems with one table per context, column after column.

    The magnitude to be expected of an element is the mean magnitude of its column, which is
    stored, times how its row has compared with the columns' means so far; while the row has not
    said much, its neighbours, 16 to either side, stand in. A context is half an octave of that
    expectation [1]. From an expectation of eight on, the lower bits of a magnitude are coded as
    they are; so are signs.

    Applies to matrices of at least 32 rows with magnitudes below 2^24.

    References:
        [1] S. Wiedemann et al. DeepCABAC: A Universal Compression Algorithm for Deep Neural
            Networks. IEEE Journal of Selected Topics in Signal Processing 2020, arXiv 1907.11900,
            where neighbours give the context as well.
    """

    name: ClassVar[str] = "contexts"
    since: ClassVar[str] = "0.1.0"
    frugal: ClassVar[bool] = True

    def encode(self, codes: Codes) -> bytes | None:
        """Return the columns' means, the tables and the coded words."""
        if codes.shape[0] < _FEWEST_ROWS or not -_LARGEST < codes.min() <= codes.max() < _LARGEST:
            return None
        codes = np.asfortranarray(codes)  # columns are gone through one by one
        means = np.searchsorted(_MEANS, _column_means(codes)).clip(0, _MEANS.size - 1)
        contexts = np.empty(codes.shape, dtype=np.uint8, order="F")
        expectation = _Expectation(codes.shape[0], means)
        counted = _Counts()
        for columns in _column_blocks(codes.shape):
            magnitudes = np.abs(codes[:, columns].astype(np.int64))
            for col in range(columns.start, columns.stop):
                contexts[:, col] = expectation.contexts(col)
                expectation.learn(magnitudes[:, col - columns.start])
            counted.add(magnitudes, contexts[:, columns])
        tables = counted.tables()
        if max(table.levels.size for table in tables.values()) > _WIDEST_TABLE:
            return None
        coder = constriction.stream.stack.AnsCoder()
        # A stack: what is decoded first is encoded last.
        for col in (col for col in reversed(range(means.size)) if means[col]):
            column = codes[:, col].astype(np.int64)
            negative, magnitudes = column[column != 0] < 0, np.abs(column)
            _encode_bits(coder, negative.astype(np.int64), 1)
            order, parts = _by_context(contexts[:, col])
            low = magnitudes[order] & ((1 << _SHIFTS[contexts[order, col]]) - 1)
            for context, part in reversed(parts):
                _encode_bits(coder, low[part], int(_SHIFTS[context]))
                tables[context].encode(coder, [magnitudes[order[part]] >> int(_SHIFTS[context])])
        present = sum(1 << context for context in tables)
        head = [means.astype(np.uint8).tobytes(), struct.pack("<Q", present)]
        del contexts, counted, expectation  # they are large
        words = coder.get_compressed().astype("<u4", copy=False)
        del coder
        return b"".join([*head, *(table.pack() for table in tables.values()), words.data])

    def decode(self, data: bytes | memoryview, shape: tuple[int, int]) -> Codes:
        """Undo `encode`."""
        try:
            return _decode(data, shape)
        except (struct.error, ValueError, IndexError, KeyError, AssertionError) as error:
            raise ArtifactError(f"context-coded integers are damaged: {error}") from error


def _decode(data: bytes | memoryview, shape: tuple[int, int]) -> Codes:
    n_rows, n_cols = shape
    means = np.frombuffer(data, dtype=np.uint8, count=n_cols).astype(np.int64)
    (present,) = struct.unpack_from("<Q", data, n_cols)
    offset, tables = n_cols + 8, {}
    for context in (bit for bit in range(64) if present >> bit & 1):
        tables[context], offset = Table.unpack(data, offset)
    if (len(data) - offset) % 4:
        raise ValueError("wrong length")
    words = np.frombuffer(data, dtype="<u4", offset=offset).astype(np.uint32)
    coder = constriction.stream.stack.AnsCoder(words)
    del words  # the coder has its own
    expectation = _Expectation(n_rows, means)
    codes = Growing(shape)
    for col in (col for col in range(n_cols) if means[col]):
        order, parts = _by_context(expectation.contexts(col))
        column = np.empty(n_rows, dtype=np.int64)
        for context, part in parts:
            shift, size = int(_SHIFTS[context]), part.stop - part.start
            high = tables[context].decode(coder, size)
            column[order[part]] = (high << shift) + _decode_bits(coder, size, shift)
        if column.min() < 0 or column.max() >= _LARGEST:
            raise ValueError("an integer out of range")
        expectation.learn(column)
        filled = np.flatnonzero(column)
        column[filled] *= 1 - 2 * _decode_bits(coder, filled.size, 1)
        codes.put((slice(None), col), column)
    return codes.array


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

    def __init__(self) -> None:
        self._counts: dict[int, NDArray[np.int64]] = {}

    def add(self, magnitudes: NDArray[np.int64], contexts: NDArray[np.uint8]) -> None:
        """Count those of some elements."""
        order, parts = _by_context(contexts.ravel(order="F"))
        sorted_magnitudes = magnitudes.ravel(order="F")[order]
        for context, part in parts:
            found = np.bincount(sorted_magnitudes[part] >> _SHIFTS[context])
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


class _Expectation:
    """What magnitude each element of the next column is to be expected to have.

    Args:
        n_rows: Rows of the matrix.
        means: Int64 array of shape (cols,): by column, the index of the mean magnitude.
    """

    def __init__(self, n_rows: int, means: NDArray[np.int64]) -> None:
        self._means = array("d", _MEANS[means].tobytes())
        self._prior = _PRIOR_COLUMNS * sum(self._means) / max(len(self._means), 1)
        self._sums = np.zeros(n_rows, dtype=np.int64)
        self._sum_of_means, self._columns = 0.0, 0
        rows = np.arange(n_rows)
        self._first = np.maximum(rows - _WINDOW, 0)
        self._last = np.minimum(rows + _WINDOW + 1, n_rows)

    def contexts(self, col: int) -> NDArray[np.uint8]:
        """Return the context of each element of a column, uint8 of shape (rows,)."""
        self._sum_of_means += sum(self._means[self._columns : col])
        self._columns = col
        if self._prior == 0:
            return np.zeros(self._sums.size, dtype=np.uint8)
        running = np.concatenate([[0], np.cumsum(self._sums)])
        near = (running[self._last] - running[self._first]) + self._prior
        near = near / ((self._last - self._first) * self._sum_of_means + self._prior)
        ratio = (self._sums + self._prior * near) / (self._sum_of_means + self._prior)
        found = np.searchsorted(_BOUNDS, self._means[col] * ratio, side="right")
        contexts: NDArray[np.uint8] = found.astype(np.uint8)
        return contexts

    def learn(self, magnitudes: NDArray[np.int64]) -> None:
        """Take the magnitudes of a column into account."""
        self._sums += magnitudes


def _by_context(contexts: NDArray[np.uint8]) -> tuple[NDArray[np.int64], list[tuple[int, slice]]]:
    """Return the rows sorted by context, and for each context that occurs its slice of them."""
    # Single bytes are sorted by counting, which is several times faster.
    order = np.argsort(contexts, kind="stable")
    ends = np.cumsum(np.bincount(contexts)).tolist()
    starts = [0, *ends[:-1]]
    pairs = enumerate(zip(starts, ends, strict=True))
    return order, [
        (context, slice(first, last)) for context, (first, last) in pairs if first < last
    ]


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
