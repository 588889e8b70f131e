"""Arithmetic coding of binary decisions, in whole numbers of 32 bits."""

from __future__ import annotations

from collections.abc import Iterable

from autocompress.errors import ArtifactError

_TOP, _ALL = 0xFF000000, 0xFFFFFFFF
_AHEAD = 4
"""Bytes that a reader looks ahead; zeros stand for those behind the end."""


class DecisionWriter:
    """Turns decisions and their probabilities into bytes.

    An interval of whole numbers is divided again and again; its leading bytes are written as soon
    as both ends agree on them.
    """

    def __init__(self) -> None:
        self._low, self._high = 0, _ALL
        self._written = bytearray()

    def write(self, decisions: Iterable[int], ones: Iterable[int]) -> None:
        """Append decisions.

        Args:
            decisions: Zeros and ones.
            ones: For each, the probability of a one, of 2^16 parts, at least 1 and below 2^16.
        """
        low, high, written = self._low, self._high, self._written
        for decision, one in zip(decisions, ones, strict=True):
            middle = low + ((high - low) >> 16) * one
            if decision:
                high = middle
            else:
                low = middle + 1
            while not (low ^ high) & _TOP:
                written.append(low >> 24)
                low, high = low << 8 & _ALL, high << 8 & _ALL | 255
        self._low, self._high = low, high

    def finish(self) -> bytes:
        """Return all bytes, as few as tell the last interval."""
        kept = next(n for n in range(_AHEAD + 1) if self._low <= self._end(n) <= self._high)
        return bytes(self._written) + self._end(kept).to_bytes(_AHEAD, "big")[:kept]

    def _end(self, n_bytes: int) -> int:
        """Return the smallest number from the interval's low end on that has so many bytes."""
        step = 1 << 8 * (_AHEAD - n_bytes)
        return -(-self._low // step) * step


class DecisionReader:
    """Undoes `DecisionWriter`."""

    def __init__(self, data: bytes) -> None:
        self._low, self._high = 0, _ALL
        self._data = data + bytes(_AHEAD)
        self._next = _AHEAD
        self._at = int.from_bytes(self._data[:_AHEAD], "big")

    def read(self, ones: Iterable[int]) -> list[int]:
        """Return as many decisions as there are probabilities, as `DecisionWriter` takes them.

        Raises:
            ArtifactError: If the bytes are at an end.
        """
        low, high, at, found = self._low, self._high, self._at, []
        for one in ones:
            middle = low + ((high - low) >> 16) * one
            if at <= middle:
                high = middle
                found.append(1)
            else:
                low = middle + 1
                found.append(0)
            while not (low ^ high) & _TOP:
                if self._next == len(self._data):
                    raise ArtifactError("its coded lines are incomplete")
                low, high = low << 8 & _ALL, high << 8 & _ALL | 255
                at = at << 8 & _ALL | self._data[self._next]
                self._next += 1
        self._low, self._high, self._at = low, high, at
        return found

    def finish(self) -> None:
        """Check that there is nothing behind the last decision.

        Raises:
            ArtifactError: If there are bytes that no writer wrote.
        """
        if self._next < len(self._data) - _AHEAD:
            raise ArtifactError("there are bytes behind its coded lines")
