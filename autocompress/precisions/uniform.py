"""Uniform quantization to b bits between the smallest and the largest value of a group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

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
from autocompress.structures.factors import Factor, Matrix, Shape, row_blocks
from autocompress.support.integers import AT_ONCE, Growing

_OF_GROUPS = ("offset", "spacing")


@PRECISIONS.register("uniform")
class Uniform(Precision):
    """Stores each element as one of 2^bits equally spaced levels.

    The levels span the range of the element's group, as in linear min-max quantization [1]; the
    error is at most half the spacing. A group is the whole tensor, a row, or that many
    neighbouring elements of a row, the last group of a row being shorter where the width leaves
    a remainder. Offset and spacing of each group are stored in half precision, rounded outwards.

    References:
        [1] A. Grachev, D. Ignatov, A. Savchenko. Neural Networks Compression for Language
            Modeling. PReMI 2017, arXiv 1708.05963.
    """

    kind: Literal["uniform"] = "uniform"
    since: ClassVar[str] = "0.1.0"
    spans: ClassVar[bool] = True
    frugal: ClassVar[bool] = True
    bits: Annotated[int, Field(ge=2, le=8)]
    group: Literal["tensor", "row"] | Annotated[int, Field(ge=2)] = "row"

    def label(self) -> str:
        """Return the bits and the group."""
        group = f"group {self.group}" if isinstance(self.group, int) else f"per {self.group}"
        return f"{self.bits} bit {group}"

    def in_words(self, bits: float) -> str:
        """Return the bits, and what has a scale of its own."""
        del bits
        scaled = f"{self.group} numbers" if isinstance(self.group, int) else self.group
        return f"{self.bits} bits, a scale per {scaled}"

    @property
    def width_bits(self) -> float:
        """Return the bits."""
        return float(self.bits)

    @property
    def runs_in(self) -> Runtime:
        """Return the whole numbers that hold the bits."""
        return whole_numbers(self.bits)

    def misfit(self, factor: Factor) -> str | None:
        """Refuse values beyond half precision, in which offsets and spacings are stored."""
        return half_precision_misfit(factor.values)

    def encode(self, factor: Factor) -> dict[str, Stream]:
        """Return the codes, whole numbers in [0, 2^bits), and per group its offset and spacing."""
        values = factor.values
        inside = None if factor.mask is None else self._grouped(factor.mask)
        offset, spacing = self._levels(self._grouped(values), inside)
        codes = Growing(values.shape, 2**self.bits - 1)
        for rows in row_blocks(values.shape, AT_ONCE):
            low, width = (self._per_element(part, values, rows) for part in (offset, spacing))
            with np.errstate(divide="ignore", invalid="ignore"):
                found = np.where(width > 0, np.rint((values[rows] - low) / width), 0)
            codes.put(rows, np.clip(found, 0, 2**self.bits - 1))
        stored = survivors(codes.array, factor.mask)
        return {"codes": stored, "offset": offset, "spacing": spacing}

    def decode(
        self, streams: Mapping[str, Stream], shape: Shape, mask: NDArray[np.bool_] | None
    ) -> Matrix:
        """Return `offset + spacing * code`, computed in single precision.

        Raises:
            ValueError: If there is not one offset and one spacing for every group.
        """
        codes = spread(streams["codes"], shape, mask)
        values = np.empty(shape, np.float32)
        for rows in row_blocks(shape, AT_ONCE):
            low, width = (
                self._per_element(streams[part], codes, rows) for part in ("offset", "spacing")
            )
            values[rows] = low + width * codes[rows].astype(np.float32)
        return values if mask is None else np.where(mask, values, np.float32(0))

    def streams_of(
        self, streams: Mapping[str, Stream], shape: Shape, rows: slice
    ) -> dict[str, Stream]:
        """Return the rows' codes, and their groups' offsets and spacings."""
        codes = streams["codes"].reshape(shape)[rows]
        alike = self.group == "tensor"
        if not alike and {len(streams[key]) for key in _OF_GROUPS} != {shape[0]}:
            raise ValueError(f"groups of {shape[0]} rows are needed")
        groups = {key: streams[key] if alike else streams[key][rows] for key in _OF_GROUPS}
        return {"codes": codes, **groups}

    def _grouped(self, array: NDArray[Any]) -> NDArray[Any]:
        return array.reshape(1, -1) if self.group == "tensor" else array

    def _width(self, cols: int) -> int:
        return min(self.group, cols) if isinstance(self.group, int) else cols

    def _levels(
        self, values: Matrix, inside: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        starts = np.arange(0, values.shape[1], self._width(values.shape[1]))
        below = values if inside is None else np.where(inside, values, np.float32(np.inf))
        above = values if inside is None else np.where(inside, values, np.float32(-np.inf))
        low = np.minimum.reduceat(below, starts, axis=1)
        high = np.maximum.reduceat(above, starts, axis=1)
        empty = low > high  # a group of which nothing survived pruning
        low, high = np.where(empty, 0, low), np.where(empty, 0, high)
        offset = _round_half(low, up=False)
        reach = high.astype(np.float64) - offset.astype(np.float64)
        return offset, _round_half(reach / (2**self.bits - 1), up=True)

    def _per_element(self, per_group: Stream, of: NDArray[Any], rows: slice) -> Matrix:
        """Return what groups have for the elements of some rows; broadcasts to their shape."""
        n_rows, n_cols = (1, of.size) if self.group == "tensor" else of.shape
        width = self._width(n_cols)
        expected = n_rows, -(-n_cols // width)
        if per_group.shape != expected:
            raise ValueError(f"groups of shape {expected} are needed, but got {per_group.shape}")
        some = per_group.astype(np.float32) if n_rows == 1 else per_group[rows].astype(np.float32)
        return some if expected[1] == 1 else np.repeat(some, width, axis=1)[:, :n_cols]


def _round_half(values: NDArray[np.floating], *, up: bool) -> NDArray[np.float16]:
    """Round to half precision in one direction, so that the levels still span the range."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float16)
    missed = rounded < values if up else rounded > values
    limit = np.float16(np.finfo(np.float16).max if up else np.finfo(np.float16).min)
    return np.where(missed, np.nextafter(rounded, limit), rounded)
