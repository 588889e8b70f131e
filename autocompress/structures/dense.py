"""The dense structure: a weight is its own only factor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from autocompress.structures.base import STRUCTURES, Structure
from autocompress.structures.factors import Curvature, Factor, Matrix, Shape


@STRUCTURES.register("dense")
class Dense(Structure):
    """Stores every element. Fits all shapes; exact up to the precision."""

    kind: Literal["dense"] = "dense"
    since: ClassVar[str] = "0.1.0"
    prunable: ClassVar[bool] = True
    is_weight: ClassVar[bool] = True

    def label(self) -> str:
        """Return "dense"."""
        return "dense"

    def misfit(self, shape: Shape) -> str | None:
        """Return None: every shape fits."""
        del shape
        return None

    def factor_shapes(self, shape: Shape, integers: Mapping[str, Matrix]) -> dict[str, Shape]:
        """Return the one factor's shape."""
        del integers
        return {"weight": shape}

    def factorize(
        self,
        weight: Matrix,
        row_frequencies: NDArray[np.float64] | None,
        curvature: Curvature | None = None,
    ) -> dict[str, Factor]:
        """Return the weight itself."""
        return {"weight": Factor(weight, row_frequencies=row_frequencies, curvature=curvature)}

    def reconstruct(self, factors: Mapping[str, Matrix]) -> Matrix:
        """Return the factor itself."""
        return factors["weight"]
