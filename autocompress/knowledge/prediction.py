"""By how much the loss should rise, before anything is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from autocompress.knowledge.source import Source
from autocompress.structures import Curvature, Matrix, row_blocks
from autocompress.structures.factors import COSTED_AT_ONCE

Blocks = Iterable[tuple[slice, Matrix]]
"""Rows of a matrix, and what stands there, from the first on."""


def errors(blocks: Blocks, exact: Matrix) -> Iterator[tuple[slice, Matrix]]:
    """Yield by how much blocks of rows differ from a weight."""
    for rows, values in blocks:
        yield rows, values - exact[rows]


def predicted_loss_rise(
    source: Source,
    name: str,
    error: Blocks,
    part: Callable[[Curvature], Curvature] | None = None,
) -> float:
    """Return by how much the loss should rise for an error in a weight.

    Args:
        source: The model, calibrated.
        name: The weight.
        error: Float32 of shape (rows, cols), by blocks of rows.
        part: Where only a part of the weight is in `error`: gives that of its curvature.
    """
    weight, calibration = source.weights.weights[name], source.calibration
    curvature = calibration.curvatures.get(name) or Curvature.relative(weight.matrix)
    if part is not None:
        curvature = part(curvature)
    blocks: Iterable[Matrix] = (values for _, values in error)
    # How products of matrices are rounded depends a little on the number of rows.
    if curvature.moment.ndim == 2:
        blocks = _gathered(blocks)
    costs = [
        curvature.row_costs(values[rows])
        for values in blocks
        for rows in row_blocks(values.shape, COSTED_AT_ONCE)
    ]
    rise = float(curvature.rows @ np.concatenate(costs)) / 2
    return calibration.sensitivities.get(name, 1.0) * rise


def _gathered(blocks: Iterable[Matrix]) -> Iterator[Matrix]:
    """Yield the same rows in blocks as large as can be."""
    some: list[Matrix] = []
    for values in blocks:
        some.append(values)
        if sum(one.size for one in some) >= COSTED_AT_ONCE:
            yield np.concatenate(some)
            some = []
    if some:
        yield some[0] if len(some) == 1 else np.concatenate(some)
