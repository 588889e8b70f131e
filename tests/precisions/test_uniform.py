"""Uniform quantization errs by at most half the spacing of its group."""

from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from strategies import each_shape, gaussian

from autocompress.precisions import Uniform
from autocompress.structures import Factor, Matrix, Shape

Group = Literal["tensor", "row"] | int
each_group = pytest.mark.parametrize("group", ["tensor", "row", 2, 5, 16, 10**9])
each_bits = pytest.mark.parametrize("bits", range(2, 9))


def decoded(precision: Uniform, factor: Factor) -> Matrix:
    streams = precision.encode(factor)
    return precision.decode(streams, (factor.values.shape[0], factor.values.shape[1]), factor.mask)


def spacings(precision: Uniform, factor: Factor) -> NDArray[np.float64]:
    """Return the spacing of every element's group."""
    spacing = precision.encode(factor)["spacing"].astype(np.float64)
    rows, cols = factor.values.shape
    if precision.group == "tensor":
        return np.broadcast_to(spacing, (rows, cols))
    width = precision.group if isinstance(precision.group, int) else cols
    return spacing[:, np.arange(cols) // width]


def assert_within_half_a_spacing(precision: Uniform, factor: Factor) -> None:
    error = np.abs(decoded(precision, factor).astype(np.float64) - factor.values)
    # Single precision rounds the levels themselves.
    allowed = spacings(precision, factor) / 2 + 2.0**-22 * np.abs(factor.values).max()
    inside = np.ones(error.shape, np.bool_) if factor.mask is None else factor.mask
    assert (error <= allowed)[inside].all()


@each_bits
@each_group
@each_shape
def test_the_error_is_at_most_half_the_spacing(shape: Shape, group: Group, bits: int) -> None:
    assert_within_half_a_spacing(Uniform(bits=bits, group=group), Factor(gaussian(shape)))


@each_group
@pytest.mark.parametrize("shift", [-50.0, 1e-3, 300.0])
def test_the_bound_holds_far_from_zero(group: Group, shift: float) -> None:
    values = gaussian((7, 9)) + np.float32(shift)
    assert_within_half_a_spacing(Uniform(bits=5, group=group), Factor(values))


@each_group
@each_shape
def test_the_bound_holds_for_what_a_mask_leaves(shape: Shape, group: Group) -> None:
    mask = np.random.default_rng(3).random(shape) < 0.3
    mask.flat[0] = True
    values = np.where(mask, gaussian(shape) + np.float32(4), np.float32(0))
    assert_within_half_a_spacing(Uniform(bits=4, group=group), Factor(values, mask=mask))


@each_group
@each_bits
def test_a_constant_is_exact_but_for_half_precision(group: Group, bits: int) -> None:
    values = np.full((5, 11), 0.3, np.float32)
    error = np.abs(decoded(Uniform(bits=bits, group=group), Factor(values)) - values)
    assert error.max() <= 2.0**-10 * 0.3


@each_group
@each_bits
def test_a_constant_of_half_precision_is_exact(group: Group, bits: int) -> None:
    values = np.full((5, 11), -0.375, np.float32)
    assert np.array_equal(decoded(Uniform(bits=bits, group=group), Factor(values)), values)


@each_group
@each_bits
def test_two_values_are_exact_but_for_half_precision(group: Group, bits: int) -> None:
    values = np.where(np.random.default_rng(0).random((6, 13)) < 0.5, -1.0, 2.0)
    error = decoded(Uniform(bits=bits, group=group), Factor(values.astype(np.float32))) - values
    assert np.abs(error).max() <= 3 * 2.0**-10


def test_the_smallest_groups_hold_two_elements_each_exactly() -> None:
    values = np.array([[1, 4, -2, -2, 7]], np.float32)
    assert np.array_equal(decoded(Uniform(bits=2, group=2), Factor(values)), values)


def test_the_last_group_of_a_row_may_be_shorter() -> None:
    streams = Uniform(bits=4, group=5).encode(Factor(gaussian((3, 12))))
    assert streams["offset"].shape == streams["spacing"].shape == (3, 3)


def test_a_group_wider_than_the_row_is_the_row() -> None:
    factor = Factor(gaussian((4, 9)))
    wide, row = decoded(Uniform(bits=4, group=10**30), factor), decoded(Uniform(bits=4), factor)
    assert np.array_equal(wide, row)


@each_group
@each_bits
def test_codes_fit_into_the_bits(group: Group, bits: int) -> None:
    codes = Uniform(bits=bits, group=group).encode(Factor(gaussian((30, 31))))["codes"]
    assert (codes.min(), codes.max()) == (0, 2**bits - 1)


def test_every_bit_divides_the_mean_squared_error_by_four() -> None:
    values = np.random.default_rng(5).uniform(-1, 1, (200, 200)).astype(np.float32)
    bits = np.arange(3, 9)
    errors = [
        np.mean((decoded(Uniform(bits=int(b), group="tensor"), Factor(values)) - values) ** 2)
        for b in bits
    ]
    slope = np.polyfit(bits, np.log2(errors), 1)[0]
    assert slope == pytest.approx(-2, abs=0.2)


@pytest.mark.parametrize("group", ["tensor", "row", 3])
def test_the_largest_half_precision_numbers_are_spanned(group: Group) -> None:
    values = np.array([[65504, -65504, 0, 1, 65504]], np.float32)
    assert_within_half_a_spacing(Uniform(bits=2, group=group), Factor(values))


def test_values_beyond_half_precision_are_refused() -> None:
    misfit = Uniform(bits=8).misfit(Factor(np.array([[0, -1e6]], np.float32)))
    assert misfit is not None
    assert "the largest is 1e+06" in misfit


@pytest.mark.parametrize("part", ["offset", "spacing"])
@pytest.mark.parametrize("shape", [(1, 1), (7, 2), (1, 3), (7, 10**6)])
def test_streams_of_a_wrong_shape_are_refused(part: str, shape: Shape) -> None:
    precision = Uniform(bits=4, group=5)
    streams = precision.encode(Factor(gaussian((7, 11))))
    streams[part] = np.zeros(shape, np.float16)
    with pytest.raises(ValueError, match=r"groups of shape \(7, 3\) are needed"):
        precision.decode(streams, (7, 11), None)


@pytest.mark.parametrize("wrong", [{"bits": 1}, {"bits": 9}, {"group": 1}, {"group": "column"}])
def test_hyper_parameters_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Uniform.model_validate({"bits": 4, **wrong})
