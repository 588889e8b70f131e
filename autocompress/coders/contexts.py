"""Entropy coding in contexts: what was decoded before tells how large an integer will be."""

from __future__ import annotations

import struct
from typing import ClassVar

from autocompress.coders import adaptive
from autocompress.coders.base import CODERS, Coder, Codes
from autocompress.errors import ArtifactError


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
        return adaptive.encode(codes, adaptive.Levels) if adaptive.suits(codes) else None

    def decode(self, data: bytes | memoryview, shape: tuple[int, int]) -> Codes:
        """Undo `encode`."""
        try:
            return adaptive.decode(data, shape, adaptive.Levels)
        except (struct.error, ValueError, IndexError, KeyError, AssertionError) as error:
            raise ArtifactError(f"context-coded integers are damaged: {error}") from error
