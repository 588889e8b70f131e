"""Signs with a scale for each row and each column: about one bit a weight."""

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from autocompress.structures import Factor, Structure
from autocompress.structures.arrays import like, whole


class ScaledSigns(Structure):
    """Stores `rows * signs * cols`; the scales are fitted to the magnitudes by turns."""

    kind: Literal["toy_signs"] = "toy_signs"
    since: ClassVar[str] = "1.0"
    rounds: Annotated[int, Field(ge=1, le=20)] = 2

    def label(self):
        return f"signs {self.rounds} rounds"

    def misfit(self, shape):
        return f"signs need a matrix, but the shape is {shape}" if min(shape) == 1 else None

    def integer_shapes(self, shape):
        return {"signs": shape}

    def factor_shapes(self, shape, integers):
        if not np.isin(integers["signs"], (0, 1)).all():
            raise ValueError("signs are 0 or 1")
        return {"rows": (shape[0], 1), "cols": (1, shape[1])}

    def factorize(self, weight, row_frequencies, curvature=None):
        magnitudes = np.abs(weight.astype(np.float64))
        cols = np.ones((1, weight.shape[1]))
        for _ in range(self.rounds):
            rows = magnitudes @ cols.T / max(np.square(cols).sum(), 1e-30)
            cols = rows.T @ magnitudes / max(np.square(rows).sum(), 1e-30)
        return {
            "signs": Factor((weight >= 0).astype(np.float32), integers=True),
            "rows": Factor(rows.astype(np.float32), row_frequencies=row_frequencies),
            "cols": Factor(cols.astype(np.float32)),
        }

    def reconstruct(self, factors):
        return factors["rows"] * self._signs(factors) * factors["cols"]

    def times(self, factors, x):
        return (x * factors["cols"]) @ self._signs(factors).T * factors["rows"].T

    def _signs(self, factors):
        return like(2 * whole(factors["signs"]).astype(np.float32) - 1, factors["rows"])
