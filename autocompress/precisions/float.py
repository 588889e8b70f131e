"""Floating-point precisions: 32 bits as they are, or rounded to 16."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from autocompress.precisions.base import (
    PRECISIONS,
    Precision,
    Stream,
    largest_magnitude,
    spread,
    survivors,
)
from autocompress.structures.factors import Factor, Matrix, Shape


@PRECISIONS.register("float32")
class Float32(Precision):
    """IEEE 754 single precision: exact."""

    kind: Literal["float32"] = "float32"
    since: ClassVar[str] = "0.1.0"
    is_exact: ClassVar[bool] = True

    def label(self) -> str:
        """Return "fp32"."""
        return "fp32"

    @property
    def width_bits(self) -> float:
        """Return 32."""
        return 32.0

    def misfit(self, factor: Factor) -> str | None:
        """Return None: every factor fits."""
        del factor
        return None

    def encode(self, factor: Factor) -> dict[str, Stream]:
        """Return the values."""
        return {"values": survivors(factor.values, factor.mask)}

    def decode(
        self, streams: Mapping[str, Stream], shape: Shape, mask: NDArray[np.bool_] | None
    ) -> Matrix:
        """Return the values."""
        return spread(streams["values"].astype(np.float32), shape, mask)

    def streams_of(
        self, streams: Mapping[str, Stream], shape: Shape, rows: slice
    ) -> dict[str, Stream]:
        """Return the rows' values."""
        return {"values": streams["values"].reshape(shape)[rows]}


@PRECISIONS.register("float16")
class Float16(Precision):
    """IEEE 754 half precision: a relative error of at most 2^-11 from 2^-14 to 65504."""

    kind: Literal["float16"] = "float16"
    since: ClassVar[str] = "0.1.0"

    def label(self) -> str:
        """Return "fp16"."""
        return "fp16"

    @property
    def width_bits(self) -> float:
        """Return 16."""
        return 16.0

    def misfit(self, factor: Factor) -> str | None:
        """Refuse values that would become infinite."""
        return half_precision_misfit(factor.values)

    def encode(self, factor: Factor) -> dict[str, Stream]:
        """Return the values, rounded to the nearest half-precision number."""
        return {"values": survivors(factor.values, factor.mask).astype(np.float16)}

    def decode(
        self, streams: Mapping[str, Stream], shape: Shape, mask: NDArray[np.bool_] | None
    ) -> Matrix:
        """Return the values in single precision."""
        return spread(streams["values"].astype(np.float32), shape, mask)

    def streams_of(
        self, streams: Mapping[str, Stream], shape: Shape, rows: slice
    ) -> dict[str, Stream]:
        """Return the rows' values."""
        return {"values": streams["values"].reshape(shape)[rows]}


def half_precision_misfit(values: Matrix) -> str | None:
    """Say that a magnitude is above what half precision can hold, or return None."""
    largest = largest_magnitude(values)
    if largest <= float(np.finfo(np.float16).max):
        return None
    return f"half precision needs magnitudes of at most 65504, but the largest is {largest:g}"
