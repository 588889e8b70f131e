"""Weight sharing: each element is one of 2^bits levels, which lie wherever the values do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from autocompress.precisions.base import (
    PRECISIONS,
    Precision,
    Runtime,
    Stream,
    spread,
    survivors,
    whole_numbers,
)
from autocompress.precisions.float import half_precision_misfit
from autocompress.structures.factors import Factor, Matrix, Shape

_MOST_ITERATIONS = 1000


@PRECISIONS.register("codebook")
class Codebook(Precision):
    """Stores each element as an index into one codebook of 2^bits half-precision levels.

    The levels are those of one-dimensional k-means [1]: they start evenly spaced between the
    smallest and the largest value, which keeps levels for the few large weights [1, sec. 3.2],
    and move to the means of their cells until no element changes its cell [2]. Values that take
    no more than 2^bits different values in half precision are stored as exactly these.

    References:
        [1] S. Han, H. Mao, W. Dally. Deep Compression: Compressing Deep Neural Networks with
            Pruning, Trained Quantization and Huffman Coding. ICLR 2016, arXiv 1510.00149.
        [2] S. Lloyd. Least Squares Quantization in PCM. IEEE Transactions on Information
            Theory 1982.
    """

    kind: Literal["codebook"] = "codebook"
    since: ClassVar[str] = "0.1.0"
    bits: Annotated[int, Field(ge=1, le=8)]
    trains_levels: ClassVar[bool] = True

    def label(self) -> str:
        """Return the bits and "codebook"."""
        return f"{self.bits} bit codebook"

    def in_words(self, bits: float) -> str:
        """Return how many values there are."""
        del bits
        return f"codebook of {2**self.bits} values"

    @property
    def width_bits(self) -> float:
        """Return the bits."""
        return float(self.bits)

    @property
    def runs_in(self) -> Runtime:
        """Return the whole numbers that hold the bits."""
        return whole_numbers(self.bits)

    def misfit(self, factor: Factor) -> str | None:
        """Refuse values beyond half precision, in which the levels are stored."""
        return half_precision_misfit(factor.values)

    def encode(self, factor: Factor) -> dict[str, Stream]:
        """Return the codes, int64 in [0, 2^bits), and the ascending levels, (1, 2^bits)."""
        values = survivors(factor.values, factor.mask)
        levels = _levels(values, 2**self.bits)
        return {"codes": _nearest(values, levels), "levels": levels[None, :]}

    def decode(
        self, streams: Mapping[str, Stream], shape: Shape, mask: NDArray[np.bool_] | None
    ) -> Matrix:
        """Return the level of each code.

        Raises:
            ValueError: If there are not 2^bits levels, or a code has no level.
        """
        levels, codes = streams["levels"].ravel(), streams["codes"]
        if levels.size != 2**self.bits:
            raise ValueError(f"{2**self.bits} levels are needed, but got {levels.size}")
        smallest, largest = int(codes.min(initial=0)), int(codes.max(initial=0))
        if smallest < 0 or largest >= levels.size:
            raise ValueError(f"codes from {smallest} to {largest} for {levels.size} levels")
        return spread(levels.astype(np.float32)[codes], shape, mask)


def _levels(values: Matrix, n_levels: int) -> NDArray[np.float16]:
    """Return the levels for some values, ascending, of shape (n_levels,)."""
    distinct = np.unique(values.astype(np.float16))
    if distinct.size == 0:  # nothing survived pruning
        return np.zeros(n_levels, dtype=np.float16)
    if distinct.size <= n_levels:
        return np.pad(distinct, (0, n_levels - distinct.size), mode="edge")
    return _lloyd(np.sort(values, axis=None).astype(np.float64), n_levels).astype(np.float16)


def _lloyd(ordered: NDArray[np.float64], n_levels: int) -> NDArray[np.float64]:
    """Return the k-means of ascending values, ascending, of shape (n_levels,).

    The cells are intervals, so that an iteration needs a search for their bounds and, for their
    means, differences of running sums: O(n_levels log n) for n values.
    """
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    levels = np.linspace(ordered[0], ordered[-1], n_levels)
    bounds = np.empty(0, dtype=np.int64)
    for _ in range(_MOST_ITERATIONS):
        inner = np.searchsorted(ordered, _midpoints(levels))
        if np.array_equal(inner, bounds):
            break
        bounds = inner
        first, last = np.concatenate([[0], inner]), np.concatenate([inner, [ordered.size]])
        means = (sums[last] - sums[first]) / np.maximum(last - first, 1)
        # Differences of long sums are inexact; a mean must not leave its cell for that.
        lowest, highest = ordered[np.minimum(first, ordered.size - 1)], ordered[last - 1]
        # A level of an empty cell stays where it is, and so between its neighbours.
        levels = np.where(first < last, np.clip(means, lowest, highest), levels)
    return levels


def _nearest(values: Matrix, levels: NDArray[np.float16]) -> NDArray[np.int64]:
    """Return the index of the level nearest to each value, the first of equal levels."""
    distinct, first = np.unique(levels, return_index=True)
    codes = first[np.searchsorted(_midpoints(distinct.astype(np.float64)), values)]
    return codes.astype(np.int64)


def _midpoints(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    return (levels[:-1] + levels[1:]) / 2
