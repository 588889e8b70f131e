"""Floating-point precisions: exact, or a bounded relative error."""

import numpy as np
import pytest
from strategies import each_shape, gaussian

from autocompress.precisions import Float16, Float32, Precision
from autocompress.structures import Factor, Matrix, Shape

EXTREMES = np.array([[0, -0.0, 1e-45, 3.4e38, -3.4e38, 1.1754944e-38, 1 / 3]], np.float32)


def decoded(precision: Precision, values: Matrix) -> Matrix:
    streams = precision.encode(Factor(values))
    return precision.decode(streams, (values.shape[0], values.shape[1]), None)


@each_shape
def test_single_precision_is_exact(shape: Shape) -> None:
    assert decoded(Float32(), gaussian(shape)).tobytes() == gaussian(shape).tobytes()


def test_single_precision_keeps_extremes_bit_for_bit() -> None:
    assert decoded(Float32(), EXTREMES).tobytes() == EXTREMES.tobytes()


@each_shape
@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e4])
def test_half_precision_has_a_bounded_relative_error(shape: Shape, scale: float) -> None:
    values = np.clip(gaussian(shape, scale=scale), -65504, 65504)
    values = values[np.abs(values) >= 2.0**-14][None, :]
    error = np.abs(decoded(Float16(), values) - values)
    assert (error <= 2.0**-11 * np.abs(values)).all()


@pytest.mark.parametrize("value", [65505.0, -7e4, 3e38])
def test_half_precision_refuses_to_overflow(value: float) -> None:
    misfit = Float16().misfit(Factor(np.array([[1, value]], np.float32)))
    assert misfit is not None
    assert f"at most 65504, but the largest is {abs(value):g}" in misfit


def test_half_precision_takes_its_largest_number() -> None:
    values = np.array([[65504, -65504]], np.float32)
    assert Float16().misfit(Factor(values)) is None
    assert np.array_equal(decoded(Float16(), values), values)
