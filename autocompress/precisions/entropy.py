"""Entropy-constrained uniform quantization: a step, and as many levels as the values need."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from autocompress.precisions.base import (
    PRECISIONS,
    Precision,
    Stream,
    bits_in_words,
    coded_rows,
    largest_magnitude,
)
from autocompress.structures.factors import Factor, Matrix, Shape, row_blocks
from autocompress.structures.markers import Scaled
from autocompress.support.integers import AT_ONCE, Growing

_LARGEST_CODE = 2**30
_EXPONENTS_PER_OCTAVE = 4


@PRECISIONS.register("entropy")
class EntropyStep(Precision):
    """Rounds each element to a multiple of a step; the bits are whatever the coder needs.

    With an ideal entropy coder, uniform levels lie a quarter bit above the rate-distortion bound
    at high rate [1], so fewer bits are bought by a wider step, not by fewer levels. The error is
    at most half the step.

    With `frequency_exponent` a > 0, row i gets the step `step * (n_i / n)^-a` for n_i uses of the
    row, n their geometric mean, rounded to a quarter octave: words that occur often are stored
    finer. Where a row's errors cost in proportion to its uses, a = 1/2 is optimal at high rate.

    Attributes:
        step: Step width in units of the root mean square of the factor.
        frequency_exponent: How strongly steps shrink with row frequency.

    References:
        [1] H. Gish, J. Pierce. Asymptotically Efficient Quantizing. IEEE Transactions on
            Information Theory 1968.
    """

    kind: Literal["entropy"] = "entropy"
    since: ClassVar[str] = "0.1.0"
    step: Annotated[float, Field(gt=0, allow_inf_nan=False), Scaled(1)]
    frequency_exponent: Annotated[float, Field(ge=0, le=1)] = 0.0
    has_zero_level: ClassVar[bool] = True
    has_steps: ClassVar[bool] = True
    frugal: ClassVar[bool] = True

    def label(self) -> str:
        """Return the step and the exponent."""
        exponent = f" rows^{self.frequency_exponent:.2g}" if self.frequency_exponent else ""
        return f"step {self.step:.2g}{exponent}"

    def in_words(self, bits: float) -> str:
        """Return what the coder needed, and whether that differs by row."""
        finer = ", finer for frequent rows" if self.frequency_exponent else ""
        return f"{bits_in_words(bits)}, entropy-constrained{finer}"

    @property
    def needs_row_frequencies(self) -> bool:
        """Whether the steps follow row frequencies."""
        return self.frequency_exponent > 0

    def misfit(self, factor: Factor) -> str | None:
        """Refuse steps so fine, or so coarse, that codes or levels overflow."""
        base, exponents = self._steps(factor)
        steps = _row_steps(base, exponents)
        magnitude = largest_magnitude(factor.values)
        largest = magnitude / float(steps.min())
        if largest > _LARGEST_CODE:
            rule = f"`|weight| / step <= {_LARGEST_CODE}` must hold"
            return f"{rule}, but step={self.step:g} gives {largest:.3g}"
        if magnitude + float(steps.max()) > float(np.finfo(np.float32).max):
            return f"`|weight| + step` must be a float32, but step={self.step:g} is too large"
        return None

    def encode(self, factor: Factor) -> dict[str, Stream]:
        """Return the codes, the base step, and the row exponents as differences."""
        base, exponents = self._steps(factor)
        codes = Growing(factor.values.shape)
        for rows in row_blocks(factor.values.shape, AT_ONCE):
            steps = _row_steps(base, exponents, rows)
            codes.put(rows, np.rint(factor.values[rows] / steps))
        step = np.full((1, 1), base, np.float32)
        streams: dict[str, Stream] = {"codes": codes.array, "step": step}
        if exponents.any():
            # A vocabulary in order of frequency makes these differences nearly all zero.
            streams["row_exponents"] = np.diff(exponents, prepend=0)[None, :]
        return streams

    def decode(
        self, streams: Mapping[str, Stream], shape: Shape, mask: NDArray[np.bool_] | None
    ) -> Matrix:
        """Return each code times the step of its row.

        Raises:
            ValueError: If there are exponents, but not one for every row.
        """
        del mask
        differences = streams.get("row_exponents", np.zeros((1, 1), dtype=np.int64))
        if "row_exponents" in streams and differences.size != shape[0]:
            raise ValueError(f"{shape[0]} rows need as many exponents, not {differences.size}")
        exponents = np.cumsum(differences.ravel())
        base, codes = streams["step"].ravel()[0], streams["codes"].reshape(shape)
        values = np.empty(shape, np.float32)
        for rows in row_blocks(shape, AT_ONCE):
            values[rows] = codes[rows] * _row_steps(base, exponents, rows)
        return values

    def streams_of(
        self, streams: Mapping[str, Stream], shape: Shape, rows: slice
    ) -> dict[str, Stream]:
        """Return the rows' codes, the base step, and their exponents."""
        return coded_rows(streams, shape, rows)

    def steps(self, factor: Factor) -> NDArray[np.float64]:
        """Return the step of each row, float64 of shape (rows, 1) or (1, 1)."""
        return _row_steps(*self._steps(factor))

    def widened(self, octaves: float) -> Self:
        """Return it with its step times 2^octaves."""
        return self.model_copy(update={"step": self.step * 2.0**octaves})

    def _steps(self, factor: Factor) -> tuple[np.float32, NDArray[np.int64]]:
        """Return the base step, and exponents per row (or one for all) in quarter octaves."""
        values = factor.values
        sums = [np.square(values[b], dtype=np.float64).sum() for b in row_blocks(values.shape)]
        rms = math.sqrt(sum(sums) / values.size)
        with np.errstate(over="ignore"):  # infinity is refused by `misfit` as well
            base = np.float32(self.step * rms)
        # Any step will do for zeros; one that vanishes in single precision is refused by `misfit`.
        base = max(base, np.finfo(np.float32).smallest_subnormal) if rms > 0 else np.float32(1)
        if factor.row_frequencies is None:
            return base, np.zeros(1, dtype=np.int64)
        # One is added so that rows which never occur have a finite step.
        octaves = np.log2(factor.row_frequencies + 1)
        shift = -self.frequency_exponent * (octaves - octaves.mean())
        return base, np.rint(shift * _EXPONENTS_PER_OCTAVE).astype(np.int64)


def _row_steps(
    base: np.float32, exponents: NDArray[np.int64], rows: slice = slice(None)
) -> NDArray[np.float64]:
    """Return the steps of some rows as a column, float64 of shape (rows, 1) or (1, 1)."""
    some = exponents[rows] if exponents.size > 1 else exponents
    return float(base) * np.exp2(some / _EXPONENTS_PER_OCTAVE)[:, None]
