"""Tables of probabilities, as entropy coders store them: a byte per level."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import constriction
import numpy as np
from numpy.typing import NDArray

from autocompress.coders.base import Codes
from autocompress.support.integers import chunks

_HEADER = struct.Struct("<iH")
_ABSENT = 255
_LEVELS_PER_OCTAVE = 8
# 2^(16 - i/8) as integers: tables are rebuilt from these alone, so that every machine decodes
# with the very same probabilities.
_MANTISSAS = np.array([65536, 60097, 55109, 50535, 46341, 42495, 38968, 35734], dtype=np.float64)


@dataclass(frozen=True)
class Table:
    """How probable each integer of a message is.

    Attributes:
        smallest: The integer of the first level.
        levels: Uint8 array: the probability relative to the most probable integer, in eighths of
            an octave, which costs below 0.001 bit per integer; 255 where an integer is absent.
    """

    smallest: int
    levels: NDArray[np.uint8]

    @classmethod
    def of(cls, message: Sequence[Codes]) -> Table:
        """Count the integers of a message that is not empty, given in blocks."""
        smallest = min(int(block.min()) for block in message)
        largest = max(int(block.max()) for block in message)
        counts = np.zeros(largest - smallest + 1, dtype=np.int64)
        for part in _parts(message):
            counts += np.bincount(part.astype(np.int64) - smallest, minlength=counts.size)
        return cls.of_counts(smallest, counts)

    @classmethod
    def of_counts(cls, smallest: int, counts: NDArray[np.int64]) -> Table:
        """Take how often each integer occurs, from the smallest to the largest that does."""
        with np.errstate(divide="ignore"):
            octaves = np.log2(counts.max() / counts)
        levels = np.minimum(np.rint(octaves * _LEVELS_PER_OCTAVE), _ABSENT - 1)
        return cls(smallest, np.where(counts > 0, levels, _ABSENT).astype(np.uint8))

    def pack(self) -> bytes:
        """Return the table as bytes."""
        return _HEADER.pack(self.smallest, self.levels.size) + self.levels.tobytes()

    @classmethod
    def unpack(cls, data: bytes | memoryview, offset: int) -> tuple[Table, int]:
        """Read a table; return it and the offset behind it.

        Raises:
            ValueError: If it has no levels, or is cut off.
            struct.error: If its header is cut off.
        """
        smallest, size = _HEADER.unpack_from(data, offset)
        offset += _HEADER.size
        levels = np.frombuffer(data, dtype=np.uint8, count=size, offset=offset)
        if size == 0 or (levels == _ABSENT).all():
            raise ValueError("a table without levels")
        return cls(smallest, levels), offset + size

    def encode(self, coder: constriction.stream.stack.AnsCoder, message: Sequence[Codes]) -> None:
        """Put a message, given in blocks, on the stack."""
        if self.levels.size > 1:
            for part in _parts(message, backwards=True):
                symbols = part.astype(np.int64) - self.smallest
                coder.encode_reverse(symbols.astype(np.int32), self._model)

    def decode(self, coder: constriction.stream.stack.AnsCoder, size: int) -> NDArray[np.int64]:
        """Take a message of so many integers from the stack."""
        if self.levels.size == 1 or size == 0:
            return np.full(size, self.smallest, dtype=np.int64)
        symbols: NDArray[np.int32] = coder.decode(self._model, size)
        return symbols.astype(np.int64) + self.smallest

    @property
    def range(self) -> tuple[int, int]:
        """The smallest and the largest integer."""
        return self.smallest, self.smallest + self.levels.size - 1

    @cached_property
    def _model(self) -> constriction.stream.model.Categorical:
        octave, eighth = np.divmod(self.levels.astype(np.int64), _LEVELS_PER_OCTAVE)
        weights = np.where(self.levels == _ABSENT, 0.0, np.ldexp(_MANTISSAS[eighth], -octave))
        return constriction.stream.model.Categorical(weights / weights.sum(), perfect=False)


def _parts(message: Sequence[Codes], *, backwards: bool = False) -> Iterator[Codes]:
    """Yield few integers at once, in order or from the last part to the first."""
    for block in reversed(message) if backwards else message:
        flat = block.ravel()
        parts = list(chunks(flat.size))
        yield from (flat[part] for part in (reversed(parts) if backwards else parts))
