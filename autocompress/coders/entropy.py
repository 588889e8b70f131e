"""Entropy coding: frequent integers cost fewer bits, down to the entropy of the data."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, ClassVar

import constriction
import numpy as np
from numpy.typing import NDArray

from autocompress.coders.base import CODERS, Coder, Codes
from autocompress.coders.tables import Table
from autocompress.errors import ArtifactError
from autocompress.support.integers import AT_ONCE, type_of
from autocompress.support.memory import give_back_beside

_LARGEST_ALPHABET = 4096
_MAX_CLASSES = 24


@CODERS.register("entropy")
class EntropyCoder(Coder):
    """Asymmetric numeral systems [1] with one table of probabilities per class of rows.

    Rows are sorted into classes by the octave (halved) of their mean magnitude; the class of each
    row and the table of each class are stored. A table holds one byte per level: the probability
    relative to the most probable level, in eighths of an octave, which costs below 0.001 bit per
    integer. Does not apply to alphabets wider than 4096, nor beyond 32 bits.

    References:
        [1] J. Duda. Asymmetric numeral systems. 2013, arXiv 1311.2540; coded by R. Bamler's
            constriction, arXiv 2201.01741.
    """

    name: ClassVar[str] = "entropy"
    since: ClassVar[str] = "0.1.0"
    frugal: ClassVar[bool] = True

    def encode(self, codes: Codes) -> bytes | None:
        """Return the number of classes, the tables and the coded words.

        One class and several are both tried; the shorter encoding is returned.
        """
        smallest, largest = int(codes.min()), int(codes.max())
        if largest - smallest >= _LARGEST_ALPHABET or not -(2**31) <= smallest < 2**31:
            return None
        single = np.zeros(codes.shape[0], dtype=np.int64)
        classes = _row_classes(codes)
        candidates = [single] if classes.max() == 0 else [single, classes]
        return min((_encode_classes(codes, candidate) for candidate in candidates), key=len)

    def decode(self, data: bytes | memoryview, shape: tuple[int, int]) -> Codes:
        """Undo `encode`."""
        try:
            return _decode_classes(data, shape)
        except (struct.error, ValueError, IndexError, AssertionError) as error:
            raise ArtifactError(f"entropy-coded integers are damaged: {error}") from error


def _row_classes(codes: Codes) -> NDArray[np.int64]:
    """Number the rows' classes from 0 in order of magnitude, int64 of shape (rows,)."""
    step = max(AT_ONCE // codes.shape[1], 1)
    blocks = (codes[first : first + step] for first in range(0, len(codes), step))
    magnitude = np.concatenate([np.abs(b.astype(np.int64)).mean(axis=1) for b in blocks])
    octaves = np.floor(2 * np.log2(magnitude + 2.0**-6)).astype(np.int64)
    _, classes = np.unique(
        np.maximum(octaves, octaves.max() - _MAX_CLASSES + 1), return_inverse=True
    )
    return classes.astype(np.int64)


class _Rows(Sequence[Codes]):
    """Some rows of a matrix in blocks, taken out of it when they are needed."""

    def __init__(self, codes: Codes, rows: NDArray[np.int64]) -> None:
        self._codes, self._rows = codes, rows
        self._step = max(AT_ONCE // codes.shape[1], 1)

    def __len__(self) -> int:
        return len(range(0, self._rows.size, self._step))

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self._codes[self._rows[number * self._step : (number + 1) * self._step]]


def _encode_classes(codes: Codes, classes: NDArray[np.int64]) -> bytes:
    n_classes = int(classes.max()) + 1
    messages: list[Sequence[Codes]] = [[classes]] if n_classes > 1 else []
    messages += [_Rows(codes, np.flatnonzero(classes == k)) for k in range(n_classes)]
    tables = [Table.of(message) for message in messages]
    head = b"".join([bytes([n_classes]), *(table.pack() for table in tables)])
    words = _words(messages, tables)
    give_back_beside(codes.size)  # the coder's own memory
    return head + words.data


def _words(messages: Sequence[Sequence[Codes]], tables: Sequence[Table]) -> NDArray[np.uint32]:
    coder = constriction.stream.stack.AnsCoder()
    # A stack: what is decoded first is encoded last.
    for message, table in zip(reversed(messages), reversed(tables), strict=True):
        table.encode(coder, message)
    words: NDArray[np.uint32] = coder.get_compressed().astype("<u4", copy=False)
    return words


def _decode_classes(data: bytes | memoryview, shape: tuple[int, int]) -> Codes:
    n_classes, offset = data[0], 1
    tables = []
    for _ in range(n_classes + (n_classes > 1)):
        table, offset = Table.unpack(data, offset)
        tables.append(table)
    if n_classes == 0 or (len(data) - offset) % 4:
        raise ValueError("wrong length")
    words = np.frombuffer(data, dtype="<u4", offset=offset).astype(np.uint32)
    coder = constriction.stream.stack.AnsCoder(words)
    del words  # the coder has its own
    classes = np.zeros(shape[0], dtype=np.int64)
    if n_classes > 1:
        classes = tables.pop(0).decode(coder, shape[0])
        if classes.min() < 0 or classes.max() >= n_classes:
            raise ValueError("a row of an unknown class")
    ends = [end for table in tables for end in table.range]
    codes = np.empty(shape, dtype=type_of(min(ends), max(ends)))
    step = max(AT_ONCE // shape[1], 1)
    for label, table in enumerate(tables):
        rows = np.flatnonzero(classes == label)
        for first in range(0, rows.size, step):
            some = rows[first : first + step]
            codes[some] = table.decode(coder, some.size * shape[1]).reshape(some.size, shape[1])
    return codes
