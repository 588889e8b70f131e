"""What a coder is: a lossless way from integers to bytes. numpy only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from numpy.typing import NDArray

from autocompress.registry import Registry

Codes = NDArray[Any]
"""Whole numbers of a signed type."""


class Coder(ABC):
    """Turns a matrix of integers into bytes and back, exactly. Subclasses have no state.

    Attributes:
        name: What the artifact calls it, and what it is registered by; never changes once a file
            was written with it.
        since: First version of its package that has it.
        frugal: Whether `encode` takes integers of any signed type and `decode` bytes where they
            lie; else they are copied.
    """

    name: ClassVar[str]
    since: ClassVar[str]
    frugal: ClassVar[bool] = False

    def length(self, codes: Codes) -> int | None:
        """Return how many bytes `encode` would give, where that is known without encoding."""
        del codes
        return None

    @abstractmethod
    def encode(self, codes: Codes) -> bytes | None:
        """Return bytes that `decode` turns back, or None where this coder does not apply.

        Args:
            codes: Int64 array of shape (rows, cols), neither of them zero; with `frugal`, of
                any signed type.
        """

    @abstractmethod
    def decode(self, data: bytes, shape: tuple[int, int]) -> Codes:
        """Return the integers, of any signed type that holds them and shape (rows, cols).

        Raises:
            ArtifactError: If the bytes cannot have come from `encode` for this shape.
        """


CODERS: Registry[type[Coder]] = Registry("coder", "autocompress.coders")
"""All coders by their names; a new one is a file that registers its class here.

Whatever is installed takes part: integers are written by whichever coder is shortest.
"""
