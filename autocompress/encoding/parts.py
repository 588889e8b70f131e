"""The part of a weight that stands for the whole where costs are estimated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autocompress.structures import Curvature, Factor, Shape, Structure
from autocompress.structures.factors import AT_ONCE

_WIDE, _LARGE = 2**12, 2**20
_NUMBERS, _FEWEST_COLS = 2**18, 512
_TOGETHER = 64

Factors = Mapping[str, Factor]
Ends = NDArray[np.float32]
"""The smallest and the largest value of each row, (rows, 2)."""


@dataclass(frozen=True)
class Part:
    """Evenly spread rows of a weight, or some blocks of columns of a wide one.

    Attributes:
        shape: Rows and columns of the whole weight.
        stride: Every so-manieth row is in it.
        blocks: The columns that are in it, in order; empty where all are.
    """

    shape: Shape
    stride: int = 1
    blocks: tuple[slice, ...] = ()

    @classmethod
    def of(cls, shape: Shape, rows: int, curvature: Curvature | None) -> Part:
        """Choose it.

        A weight that is wider than tall, and has above a million numbers, is represented by about
        a quarter of a million: by blocks of columns as its curvature knows them.

        Args:
            shape: Of the weight.
            rows: About how many rows of a tall weight are wanted.
            curvature: What is known of the weight, or None.
        """
        n_rows, n_cols = shape
        if n_cols <= max(_WIDE, n_rows) or n_rows * n_cols <= _LARGE:
            return cls(shape, max(1, n_rows // max(rows, n_cols)))
        widths = curvature.widths if curvature is not None and curvature.widths else ()
        width = widths[0] if widths else _TOGETHER
        wanted = max(_NUMBERS // n_rows, _FEWEST_COLS)
        n_blocks, n_wanted = n_cols // width, -(-wanted // width)  # but for a narrower last one
        chosen = sorted({(2 * i + 1) * n_blocks // (2 * n_wanted) for i in range(n_wanted)})
        return cls(shape, 1, tuple(slice(i * width, (i + 1) * width) for i in chosen))

    def of_matrix(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return what is in it of an array of the weight's rows and columns."""
        if not self.blocks:
            some = values[:: self.stride]
            # A view would keep the whole.
            return some.copy() if self.stride > 1 and values.size > AT_ONCE else some
        return np.concatenate([values[..., block] for block in self.blocks], axis=-1)

    def of_curvature(self, curvature: Curvature) -> Curvature:
        """Return what is known of the part."""
        if not self.blocks:
            return curvature.of_rows(slice(None, None, self.stride))
        if curvature.is_diagonal:
            return replace(curvature, moment=self.of_matrix(curvature.moment))
        if curvature.moment.ndim == 2:
            square = self.of_matrix(self.of_matrix(curvature.moment).T)
            return replace(curvature, moment=square)
        starts = {block.start for block in self.blocks}
        moments = [part.ravel() for cols, part in curvature.parts if cols.start in starts]
        widths = tuple(block.stop - block.start for block in self.blocks)
        return Curvature(curvature.rows, np.concatenate(moments), widths)

    def of_factors(self, factors: Factors) -> tuple[dict[str, Factor], dict[str, float]]:
        """Thin the factors that have the weight's own rows, or columns.

        Returns:
            The factors, and by name how many times as large the whole is.
        """
        found, shares = {}, {}
        for name, factor in factors.items():
            n_rows, n_cols = factor.values.shape
            # Of a tall weight no factor has as many columns as the weight has rows; nor the
            # other way round of a wide one.
            is_own = n_cols == self.shape[1] if self.blocks else n_rows == self.shape[0]
            is_thinned = is_own and not factor.integers and (self.blocks or self.stride > 1)
            found[name] = self._thinned(factor) if is_thinned else factor
            shares[name] = factor.values.size / found[name].values.size
        return found, shares

    @property
    def n_spared(self) -> int:
        """Columns at the end of the part whose errors count for nothing, where levels span all."""
        return _TOGETHER if self.blocks else 0

    def spanning(self, factors: Factors, whole: Mapping[str, Ends]) -> dict[str, Factor]:
        """Put the smallest and the largest value of each row in the place of the last two.

        Args:
            factors: What `of_factors` gave.
            whole: The ends of the rows of those that were thinned.
        """
        found = dict(factors)
        for name, ends in whole.items():
            values, mask = factors[name].values.copy(), factors[name].mask
            values[:, -2:] = ends
            if mask is not None:
                mask = mask.copy()
                mask[:, -2:] = ends != 0
            found[name] = replace(factors[name], values=values, mask=mask)
        return found

    def suits(self, structure: Structure, factors: Factors) -> bool:
        """Whether factors, thinned, are those of a narrower weight."""
        if not self.blocks:
            return True
        n_cols = sum(block.stop - block.start for block in self.blocks)
        shape = self.shape[0], n_cols
        shapes = {name: factor.values.shape for name, factor in factors.items()}
        return structure.misfit(shape) is None and shapes == structure.factor_shapes(shape, {})

    def ends(self, factors: Factors) -> dict[str, Ends]:
        """Return those of the factors that some of their columns stand for."""
        if not self.blocks:
            return {}
        return {
            name: np.stack([one.values.min(axis=1), one.values.max(axis=1)], axis=1)
            for name, one in factors.items()
            if one.values.shape[1] == self.shape[1] and not one.integers
        }

    def _thinned(self, factor: Factor) -> Factor:
        mask, frequencies = factor.mask, factor.row_frequencies
        # Steps that depend on the whole factor must not change with the part that is looked at.
        curvature = factor.curvature or Curvature.relative(factor.values)
        rows = slice(None, None, 1 if self.blocks else self.stride)
        return replace(
            factor,
            values=self.of_matrix(factor.values),
            mask=None if mask is None else self.of_matrix(mask),
            row_frequencies=None if frequencies is None else frequencies[rows],
            curvature=self.of_curvature(curvature),
        )
