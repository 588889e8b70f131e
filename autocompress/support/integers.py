"""Whole numbers in as few bytes as hold them: a matrix of codes can be larger than its weight."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

AT_ONCE = 2**15
"""So many numbers are worked on at once where they are gone through block by block."""
_TYPES = (np.int8, np.int16, np.int32, np.int64)

Integers = NDArray[np.signedinteger[Any]]


def type_of(smallest: int, largest: int) -> np.dtype[Any]:
    """Return the narrowest signed type that holds all from the smallest to the largest."""
    for kind in _TYPES:
        limits = np.iinfo(kind)
        if limits.min <= smallest and largest <= limits.max:
            return np.dtype(kind)
    return np.dtype(np.int64)


def range_of(numbers: Integers) -> tuple[int, int]:
    """Return the smallest and the largest; zeros where there are none."""
    return int(numbers.min(initial=0)), int(numbers.max(initial=0))


def chunks(size: int) -> Iterator[slice]:
    """Cut so many numbers into chunks."""
    return (slice(first, first + AT_ONCE) for first in range(0, size, AT_ONCE))


def as_integers(values: NDArray[Any]) -> Integers:
    """Return whole numbers, stored as floats of shape (rows, cols), as integers."""
    found = Growing(values.shape)
    step = max(AT_ONCE // max(values.shape[1], 1), 1)
    for first in range(0, len(values), step):
        found.put(slice(first, first + step), values[first : first + step])
    return found.array


class Growing:
    """A matrix of whole numbers that is filled part by part, and widened where that is needed.

    Attributes:
        array: The matrix by now, of a signed type; zero where nothing was put.
    """

    def __init__(self, shape: tuple[int, ...], largest: int = 0) -> None:
        """Begin with zeros.

        Args:
            shape: Of the matrix.
            largest: If numbers up to here will be put, the room for them is there at once.
        """
        self.array: Integers = np.zeros(shape, type_of(0, largest))

    def put(self, where: Any, numbers: NDArray[Any]) -> None:
        """Put whole numbers, of any type, in the place of a part."""
        smallest, largest = int(numbers.min(initial=0)), int(numbers.max(initial=0))
        needed = type_of(smallest, largest)
        if needed.itemsize > self.array.itemsize:
            self.array = self.array.astype(needed)
        self.array[where] = numbers
