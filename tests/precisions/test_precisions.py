"""What holds for every precision."""

from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from strategies import PRECISIONS, each_precision, each_shape, frequencies, gaussian

from autocompress.precisions import AnyPrecision, Precision
from autocompress.structures import Factor, Matrix, Shape

ANY: TypeAdapter[Precision] = TypeAdapter(AnyPrecision)


def sparse(shape: Shape) -> tuple[Matrix, NDArray[np.bool_]]:
    """Return values of which about two thirds are zero, and where the others are."""
    mask = np.random.default_rng(4).random(shape) < 0.35
    mask.flat[0] = True
    return np.where(mask, gaussian(shape), np.float32(0)), mask


def decoded(precision: Precision, factor: Factor) -> Matrix:
    streams = precision.encode(factor)
    return precision.decode(streams, (factor.values.shape[0], factor.values.shape[1]), factor.mask)


def test_every_registered_precision_is_tested_here() -> None:
    registered = set(get_args(get_args(AnyPrecision)[0]))
    assert {type(precision) for precision in PRECISIONS} == registered


@each_precision
def test_precisions_survive_json(precision: Precision) -> None:
    assert ANY.validate_json(precision.model_dump_json()) == precision


@each_precision
def test_unknown_keys_are_refused(precision: Precision) -> None:
    with pytest.raises(ValidationError, match="rounding"):
        ANY.validate_python({**precision.model_dump(), "rounding": "up"})


@each_shape
@each_precision
def test_ordinary_factors_fit(precision: Precision, shape: Shape) -> None:
    assert precision.misfit(Factor(gaussian(shape), row_frequencies=frequencies(shape[0]))) is None


@each_shape
@each_precision
def test_decoding_gives_single_precision_of_the_same_shape(
    precision: Precision, shape: Shape
) -> None:
    values = decoded(precision, Factor(gaussian(shape), row_frequencies=frequencies(shape[0])))
    assert values.dtype == np.float32
    assert values.shape == shape


@each_shape
@each_precision
def test_streams_are_matrices_of_integers_or_floats(precision: Precision, shape: Shape) -> None:
    streams = precision.encode(Factor(gaussian(shape), row_frequencies=frequencies(shape[0])))
    kinds = {np.dtype(kind) for kind in (np.int64, np.float16, np.float32)}
    assert all(stream.ndim == 2 and stream.dtype in kinds for stream in streams.values())


@each_shape
@each_precision
def test_the_factor_is_not_modified(precision: Precision, shape: Shape) -> None:
    values, mask = sparse(shape)
    precision.encode(Factor(values, mask=mask))
    assert np.array_equal(values, sparse(shape)[0])


@each_shape
@each_precision
def test_equal_factors_give_equal_streams(precision: Precision, shape: Shape) -> None:
    first, second = (precision.encode(Factor(gaussian(shape))) for _ in range(2))
    assert {name: stream.tobytes() for name, stream in first.items()} == {
        name: stream.tobytes() for name, stream in second.items()
    }


@each_shape
@each_precision
def test_pruned_zeros_stay_exactly_zero(precision: Precision, shape: Shape) -> None:
    values, mask = sparse(shape)
    kept = None if precision.has_zero_level else mask
    assert not decoded(precision, Factor(values, mask=kept))[~mask].any()


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
