"""What a coder is: a lossless way from integers to bytes. numpy only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from autocompress.registry import Registry

Codes = NDArray[np.int64]


class Coder(ABC):
    """Turns a matrix of integers into bytes and back, exactly. Subclasses have no state.

    Attributes:
        name: What the artifact calls it, and what it is registered by; never changes once a file
            was written with it.
        since: First version of its package that has it.
    """

    name: ClassVar[str]
    since: ClassVar[str]

    @abstractmethod
    def encode(self, codes: Codes) -> bytes | None:
        """Return bytes that `decode` turns back, or None where this coder does not apply.

        Args:
            codes: Int64 array of shape (rows, cols), neither of them zero.
        """

    @abstractmethod
    def decode(self, data: bytes, shape: tuple[int, int]) -> Codes:
        """Return the integers, int64 of shape (rows, cols).

        Raises:
            ArtifactError: If the bytes cannot have come from `encode` for this shape.
        """


CODERS: Registry[type[Coder]] = Registry("coder", "autocompress.coders")
"""All coders by their names; a new one is a file that registers its class here.

Whatever is installed takes part: integers are written by whichever coder is shortest.
"""
