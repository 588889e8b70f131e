"""Entropy coding of paths through a trellis, whose states tell which levels there are."""

from __future__ import annotations

import struct
import zlib
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from autocompress.coders import adaptive
from autocompress.coders.base import CODERS, Coder, Codes
from autocompress.coders.expectation import N_CONTEXTS
from autocompress.errors import ArtifactError
from autocompress.support import trellis


class _OnPath(adaptive.Levels):
    """Indices among the levels that a row's state allows: even ones, or odd ones and zero."""

    deflates: ClassVar[bool] = True
    counts_zeros: ClassVar[bool] = False
    prior_columns: ClassVar[float] = 8.0
    shifts: ClassVar[NDArray[np.int64]] = np.tile(
        np.clip(np.arange(N_CONTEXTS) // 2 - 11, 0, 20), 2
    )

    def __init__(self, n_rows: int) -> None:
        self._states = trellis.begun(n_rows)

    def contexts(self, found: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Double the contexts: the second half is for odd levels."""
        return found + np.uint8(N_CONTEXTS) * trellis.is_odd(self._states)

    def indices(self, magnitudes: NDArray[np.int64], contexts: NDArray[np.uint8]) -> Codes:
        """Return the place of each magnitude among the levels of its state."""
        return trellis.indices_of(magnitudes, contexts >= N_CONTEXTS)

    def magnitudes(self, indices: NDArray[np.int64], contexts: NDArray[np.uint8]) -> Codes:
        """Undo `indices`."""
        return trellis.levels_of(indices, contexts >= N_CONTEXTS)

    def follow(self, indices: Codes) -> None:
        """Go on to the next states."""
        self._states = trellis.followed(self._states, indices)


@CODERS.register("trellis")
class TrellisCoder(Coder):
    """Codes as `contexts` does, but paths through a trellis, which take fewer bits.

    Which of the two quantizers an element belongs to follows from the elements before it in its
    row. Each has tables of its own, of indices in place of magnitudes.

    Applies to what `contexts` applies to, if each row is a path, and some level is odd.
    """

    name: ClassVar[str] = "trellis"
    since: ClassVar[str] = "0.1.0"
    frugal: ClassVar[bool] = True

    def encode(self, codes: Codes) -> bytes | None:
        """Return the columns' means, the tables and the coded words."""
        if (codes[:, 0] & 1).any() or not adaptive.suits(codes) or not (codes & 1).any():
            return None
        try:
            return adaptive.encode(codes, _OnPath)
        except trellis.OffPathError:
            return None

    def decode(self, data: bytes | memoryview, shape: tuple[int, int]) -> Codes:
        """Undo `encode`."""
        try:
            return adaptive.decode(data, shape, _OnPath)
        except (
            struct.error,
            zlib.error,
            ValueError,
            IndexError,
            KeyError,
            AssertionError,
        ) as error:
            raise ArtifactError(f"integers coded along paths are damaged: {error}") from error
