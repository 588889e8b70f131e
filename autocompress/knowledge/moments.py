"""Second moments of vectors, added up: as much of them as memory allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autocompress.structures import Curvature

WHOLE = 2048
"""Up to so many columns a moment is kept whole, whatever the weight."""
_WIDEST, _NARROWEST = 1024, 4
_BYTES_OF_WEIGHT, _BYTES_WHOLE = 4, 8


def widths_of(rows: int, cols: int) -> tuple[int, ...]:
    """Return the widths of the blocks in which the moment of a weight's inputs is kept.

    Up to 2048 columns it is kept whole, and beyond where it takes no more memory than the weight.
    Otherwise blocks of neighbouring columns are kept, in single precision, of up to half as many
    columns as the weight has rows, so that they take half as much memory; where they would be
    narrower than four, the diagonal alone.

    Returns:
        Empty for the whole moment; ones for its diagonal.
    """
    if cols <= WHOLE or cols * _BYTES_WHOLE <= rows * _BYTES_OF_WEIGHT:
        return ()
    width = min(rows // 4, _WIDEST)
    if width < _NARROWEST:
        return (1,) * cols
    whole, rest = divmod(cols, width)
    return (width,) * whole + (rest,) * (rest > 0)


class MomentSum:
    """Adds up second moments of the vectors that a weight meets.

    Attributes:
        widths: As `Curvature.widths`.
        is_diagonal: Whether the diagonal alone is kept.
    """

    def __init__(self, widths: tuple[int, ...], cols: int) -> None:
        """Begin with none.

        Args:
            widths: As `widths_of` gives them.
            cols: Of the weight.
        """
        self.is_diagonal = bool(widths) and max(widths) == 1
        self.widths = () if self.is_diagonal else widths
        self._cols = cols
        self._sum: NDArray[Any] | None = None

    def add(self, vectors: Tensor, weigh: Callable[[Tensor], Tensor]) -> None:
        """Add the vectors of a batch, shape (n, cols).

        Args:
            vectors: At least in single precision.
            weigh: Turns the sum of their products, on the processor, into what is to be added, in
                any precision.
        """
        if self._sum is None:
            self._sum = self._zeros()
        if self.is_diagonal:
            self._sum += weigh(vectors.square().sum(dim=0).cpu()).numpy()
        elif not self.widths:
            self._sum += weigh((vectors.T @ vectors).cpu()).numpy()
        col = first = 0
        for width in self.widths:
            block = vectors[:, col : col + width]
            last = first + width * width
            self._sum[first:last] += weigh((block.T @ block).cpu()).numpy().ravel()
            col, first = col + width, last

    def curvature(self, rows: NDArray[np.float64], batches: int) -> Curvature:
        """Return the mean over so many batches, beside the sensitivities of the rows.

        It takes the place of the sum: moments of wide vectors are in memory once.
        """
        found = self._zeros() if self._sum is None else self._sum
        self._sum = None
        found /= batches
        return Curvature(rows, found, self.widths)

    def _zeros(self) -> NDArray[Any]:
        if self.widths:
            return np.zeros(sum(width * width for width in self.widths), np.float32)
        return np.zeros(self._cols if self.is_diagonal else (self._cols, self._cols))


def joined(values: Iterable[Tensor]) -> Tensor:
    """Return the vectors (n, width) of some tensors where they can be added up.

    At least in single precision, and contiguous. Those of a single tensor are not copied.
    """
    parts = [_vectors_of(one) for one in values]
    return parts[0].contiguous() if len(parts) == 1 else torch.cat(parts)


def _vectors_of(values: Tensor) -> Tensor:
    values = values.reshape(-1, values.shape[-1])
    return values.to(torch.promote_types(values.dtype, torch.float32))
