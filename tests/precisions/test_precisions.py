"""What holds for every precision."""

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from strategies import PRECISIONS, each_precision, each_shape, frequencies, gaussian

from autocompress.precisions import PRECISIONS as REGISTERED
from autocompress.precisions import Precision
from autocompress.structures import Factor, Matrix, Shape
from autocompress.testing import check_precision


def sparse(shape: Shape) -> tuple[Matrix, NDArray[np.bool_]]:
    """Return values of which about two thirds are zero, and where the others are."""
    mask = np.random.default_rng(4).random(shape) < 0.35
    mask.flat[0] = True
    return np.where(mask, gaussian(shape), np.float32(0)), mask


def decoded(precision: Precision, factor: Factor) -> Matrix:
    streams = precision.encode(factor)
    return precision.decode(streams, (factor.values.shape[0], factor.values.shape[1]), factor.mask)


def test_every_registered_precision_is_tested_here() -> None:
    assert {type(precision) for precision in PRECISIONS} == set(REGISTERED.values())


@each_precision
def test_precisions_conform(precision: Precision) -> None:
    check_precision(precision)


@each_precision
def test_unknown_keys_are_refused(precision: Precision) -> None:
    with pytest.raises(ValidationError, match="rounding"):
        type(precision).model_validate({**precision.model_dump(), "rounding": "up"})


@each_shape
@each_precision
def test_ordinary_factors_fit(precision: Precision, shape: Shape) -> None:
    assert precision.misfit(Factor(gaussian(shape), row_frequencies=frequencies(shape[0]))) is None


@each_shape
@pytest.mark.parametrize(
    "precision",
    [precision for precision in PRECISIONS if not precision.has_zero_level],
    ids=lambda precision: precision.label(),
)
def test_only_survivors_are_stored_beside_a_mask(precision: Precision, shape: Shape) -> None:
    values, mask = sparse(shape)
    streams = precision.encode(Factor(values, mask=mask))
    assert next(iter(streams.values())).shape == (1, mask.sum())


@each_shape
@each_precision
def test_a_zero_factor_stays_zero(precision: Precision, shape: Shape) -> None:
    assert not decoded(precision, Factor(np.zeros(shape, np.float32))).any()


@each_shape
@each_precision
def test_the_error_is_below_the_values(precision: Precision, shape: Shape) -> None:
    values = gaussian(shape)
    error = decoded(precision, Factor(values)) - values
    assert np.linalg.norm(error) < 0.8 * np.linalg.norm(values)
