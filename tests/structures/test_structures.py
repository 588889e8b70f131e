"""What holds for every structure."""

from typing import get_args

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from strategies import STRUCTURES, each_fitting, frequencies, gaussian

from autocompress.errors import PlanError
from autocompress.structures import (
    AnyStructure,
    Dense,
    LowRank,
    Pruned,
    Shape,
    Structure,
    matrix_shape,
    stacked_shape,
)

ANY: TypeAdapter[Structure] = TypeAdapter(AnyStructure)


def test_every_registered_structure_is_tested_here() -> None:
    registered = set(get_args(get_args(AnyStructure)[0]))
    assert {type(structure) for structure in STRUCTURES} == registered


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda structure: structure.label())
def test_structures_survive_json(structure: Structure) -> None:
    assert ANY.validate_json(structure.model_dump_json()) == structure


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda structure: structure.label())
def test_unknown_keys_are_refused(structure: Structure) -> None:
    with pytest.raises(ValidationError, match="strength"):
        ANY.validate_python({**structure.model_dump(), "strength": 1})


@each_fitting
def test_factors_have_the_shapes_that_were_announced(structure: Structure, shape: Shape) -> None:
    factors = structure.factorize(gaussian(shape), None)
    shapes = {name: factor.values.shape for name, factor in factors.items()}
    assert shapes == {
        **structure.integer_shapes(shape),
        **structure.factor_shapes(
            shape, {name: factor.values for name, factor in factors.items() if factor.integers}
        ),
    }


@each_fitting
def test_factors_are_single_precision(structure: Structure, shape: Shape) -> None:
    factors = structure.factorize(gaussian(shape), None)
    assert {factor.values.dtype for factor in factors.values()} == {np.dtype(np.float32)}


@each_fitting
def test_the_weight_is_not_modified(structure: Structure, shape: Shape) -> None:
    weight = gaussian(shape)
    structure.factorize(weight, frequencies(shape[0]))
    assert np.array_equal(weight, gaussian(shape))


@each_fitting
def test_equal_weights_give_equal_factors(structure: Structure, shape: Shape) -> None:
    first, second = (structure.factorize(gaussian(shape), None) for _ in range(2))
    assert all(np.array_equal(first[name].values, second[name].values) for name in first)


@each_fitting
def test_reconstruction_has_the_shape_of_the_weight(structure: Structure, shape: Shape) -> None:
    factors = structure.factorize(gaussian(shape), None)
    weight = structure.reconstruct({name: factor.values for name, factor in factors.items()})
    assert weight.dtype == np.float32
    assert weight.shape == shape


@each_fitting
def test_frequencies_stay_with_the_factor_that_has_the_rows(
    structure: Structure, shape: Shape
) -> None:
    counts = frequencies(shape[0])
    for factor in structure.factorize(gaussian(shape), counts).values():
        if factor.row_frequencies is not None:
            assert factor.values.shape[0] == shape[0]
            assert np.array_equal(factor.row_frequencies, counts)


@pytest.mark.parametrize(
    "structure", [Dense(), LowRank(rank=5), Pruned(sparsity=0.3)], ids=lambda one: one.label()
)
def test_structures_that_keep_the_rows_keep_their_frequencies(structure: Structure) -> None:
    factors = structure.factorize(gaussian((64, 64)), frequencies(64))
    assert any(factor.row_frequencies is not None for factor in factors.values())


@each_fitting
def test_what_a_mask_leaves_out_is_zero(structure: Structure, shape: Shape) -> None:
    for factor in structure.factorize(gaussian(shape), None).values():
        if factor.mask is not None:
            assert not factor.values[~factor.mask].any()


@each_fitting
def test_a_zero_weight_stays_zero(structure: Structure, shape: Shape) -> None:
    factors = structure.factorize(np.zeros(shape, np.float32), None)
    weight = structure.reconstruct({name: factor.values for name, factor in factors.items()})
    assert np.array_equal(weight, np.zeros(shape))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((), (1, 1)), ((5,), (1, 5)), ((5, 3), (5, 3)), ((4, 3, 2), (4, 6)), ((2, 1, 1, 7), (2, 7))],
)
def test_tensors_are_seen_as_matrices(shape: tuple[int, ...], expected: Shape) -> None:
    assert matrix_shape(shape) == expected


def test_stacked_weights_add_their_rows() -> None:
    assert stacked_shape([(5, 6), (4, 3, 2), (6,)]) == (10, 6)


def test_weights_of_different_widths_cannot_be_stacked() -> None:
    with pytest.raises(PlanError, match=r"equal widths, but have \[5, 6\]"):
        stacked_shape([(5, 6), (5, 5)])
