"""What is known at a place of a file of lines, as numbers by which decisions are counted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autocompress.coders.lines.alphabet import END

N_CONTEXTS = 12
N_RELATED = 4
"""The last contexts, which also know how the line stands to the one before."""
OWN = slice(1, 7)
"""The contexts of 1 to 5 bytes, and of the whole line so far."""
_REACH = 32  # bytes of a line that are compared with those of the line before

Lanes = NDArray[np.int64]
"""A number for each lane, or the numbers of some lanes."""
Hashes = NDArray[np.uint64]

FACTOR = np.uint64(0x9E3779B97F4A7C15)
_EIGHT, _FOLD = np.uint64(8), np.uint64(29)
_ROWS = np.arange(N_CONTEXTS, dtype=np.uint64)[:, None]
_SUFFIXES = np.array([[2 ** (8 * n) - 1] for n in range(1, 6)], np.uint64)
_PATTERN = np.uint64(4**6 - 1)
_POWERS = 2 ** np.arange(32)


def _classes() -> Hashes:
    """Return the class of each byte: 1 vowel, 2 other letter or part of one, 3 anything else."""
    classes = np.full(256, 3, np.uint64)
    for letters in (range(65, 91), range(97, 123), range(128, 256)):
        classes[letters.start : letters.stop] = 2
    classes[np.frombuffer(b"aeiouy", np.uint8)] = 1
    return classes


_CLASSES = _classes()


class Places:
    """Where each of some lanes is in its lines.

    All arrays have a number, or a column or row, for each lane that is not at its end.

    Attributes:
        lane: Which lane it is.
        line: The number of the present line in the file.
        length: Bytes of the present line so far.
        above: The byte of the line before at this place, or `END`.
        alike: Whether the line so far is as the line before begins.
        lower: Whether the line comes before the line before, byte by byte.
        hashes: What the contexts have seen, uint64 of shape (N_CONTEXTS, lanes).
    """

    def __init__(self, n_lines: int, n_lanes: int) -> None:
        self.lane: Lanes = np.arange(n_lanes)
        self.line, self._end = bounds(n_lines, n_lanes)
        self.length = np.zeros(n_lanes, np.int64)
        self.above = np.full(n_lanes, END)
        self.alike, self.lower = np.zeros(n_lanes, np.bool_), np.zeros(n_lanes, np.bool_)
        self._last = np.zeros(n_lanes, np.uint64)  # up to eight bytes of the line, the last lowest
        self._whole, self._pattern = np.zeros(n_lanes, np.uint64), np.zeros(n_lanes, np.uint64)
        self._digits = _digits(self.line)
        # What is written behind the reach is never read: the column before it stays at the end.
        self._line = np.full((n_lanes, _REACH + 2), END)
        self._before = self._line.copy()
        self.hashes = np.empty((N_CONTEXTS, n_lanes), np.uint64)
        self._see(self.lane)

    def told(self, lanes: Lanes, bytes_or_ends: Lanes) -> None:
        """Go on by a byte, or to the next line.

        Args:
            lanes: Which columns of the arrays go on.
            bytes_or_ends: What comes next in each, a byte or `END`.
        """
        ended = bytes_or_ends == END
        self._grow(lanes[~ended], bytes_or_ends[~ended])
        over = lanes[ended]
        if over.size:
            self._turn(over)
        self._see(lanes)

    def finished(self) -> NDArray[np.bool_]:
        """Say which lanes have no more lines."""
        over: NDArray[np.bool_] = self.line == self._end
        return over

    def keep(self, lanes: NDArray[np.bool_]) -> None:
        """Drop all other lanes."""
        for name, values in vars(self).items():
            setattr(self, name, values[:, lanes] if name == "hashes" else values[lanes])

    def _grow(self, lanes: Lanes, added: Lanes) -> None:
        at = self.length[lanes]
        self._line[lanes, np.minimum(at, _REACH + 1)] = added
        self._line[lanes, _REACH] = END
        at += 1
        self.length[lanes] = at
        self.above[lanes] = self._before[lanes, np.minimum(at, _REACH)]
        self.alike[lanes] &= at < _REACH
        unsigned = added.view(np.uint64)
        self._last[lanes] = self._last[lanes] << _EIGHT | unsigned
        self._whole[lanes] = (self._whole[lanes] + unsigned + np.uint64(1)) * FACTOR
        classes = _CLASSES.take(added)
        self._pattern[lanes] = (self._pattern[lanes] << np.uint64(2) | classes) & _PATTERN

    def _turn(self, lanes: Lanes) -> None:
        """Begin the next line."""
        self._before[lanes] = self._line[lanes]
        self._line[lanes] = END
        for values in (self.length, self._last, self._whole, self._pattern):
            values[lanes] = 0
        self.above[lanes] = self._before[lanes, 0]
        self.alike[lanes], self.lower[lanes] = True, False
        self.line[lanes] += 1
        self._digits[lanes] = _digits(self.line[lanes])

    def _see(self, lanes: Lanes) -> None:
        """Hash what the contexts see."""
        last, above = self._last[lanes], (self.above[lanes] + 1).view(np.uint64)
        length = self.length[lanes].view(np.uint64)
        early = np.minimum(length, 3)
        number = self._digits[lanes]
        seen = np.empty((N_CONTEXTS, lanes.size), np.uint64)
        seen[0] = 0
        np.bitwise_and(last, _SUFFIXES, out=seen[1:6])
        seen[6] = self._whole[lanes]
        seen[7] = self._pattern[lanes] << _EIGHT | seen[1]
        seen[8] = np.minimum(length, 6) << np.uint64(9) | above
        seen[9] = early << np.uint64(5) | number
        seen[10] = early << np.uint64(14) | above << np.uint64(5) | number >> np.uint64(1)
        seen[11] = np.minimum(length, 12) << _EIGHT | seen[1]
        seen *= FACTOR
        seen += _ROWS
        seen *= FACTOR
        seen ^= seen >> _FOLD
        self.hashes[:, lanes] = seen


def _digits(lines: Lanes) -> Hashes:
    """Return how many binary digits the numbers of lines have, counted from 1."""
    return np.searchsorted(_POWERS, lines + 1, "right").view(np.uint64)


def bounds(n_lines: int, n_lanes: int) -> tuple[Lanes, Lanes]:
    """Return the number of the first line of each lane, and that behind its last one."""
    edges = np.arange(n_lanes + 1) * n_lines // n_lanes
    return edges[:-1].copy(), edges[1:]
