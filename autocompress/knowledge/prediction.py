"""By how much the loss should rise, before anything is measured."""

from __future__ import annotations

from autocompress.knowledge.source import Source
from autocompress.structures import Curvature, Matrix


def predicted_loss_rise(source: Source, name: str, error: Matrix, stride: int = 1) -> float:
    """Return by how much the loss should rise for an error in a weight.

    Args:
        source: The model, calibrated.
        name: The weight.
        error: Float32 of shape (rows, cols).
        stride: Only every so-manieth row of the weight is in `error`.
    """
    weight, calibration = source.weights.weights[name], source.calibration
    curvature = calibration.curvatures.get(name) or Curvature.relative(weight.matrix)
    rise = curvature.of_rows(slice(None, None, stride)).rise(error)
    return calibration.sensitivities.get(name, 1.0) * rise
