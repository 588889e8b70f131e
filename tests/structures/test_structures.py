"""What holds for every structure."""

import numpy as np
import pytest
from pydantic import ValidationError
from strategies import STRUCTURES, each_fitting, frequencies, gaussian

from autocompress.errors import PlanError
from autocompress.structures import STRUCTURES as REGISTERED
from autocompress.structures import (
    Dense,
    LowRank,
    Pruned,
    Shape,
    Structure,
    matrix_shape,
    stacked_shape,
)
from autocompress.testing import check_structure


def test_every_registered_structure_is_tested_here() -> None:
    own = {one for one in REGISTERED.values() if one.__module__.startswith("autocompress.")}
    assert {type(structure) for structure in STRUCTURES} == own


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda structure: structure.label())
def test_structures_conform(structure: Structure) -> None:
    check_structure(structure)


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda structure: structure.label())
def test_unknown_keys_are_refused(structure: Structure) -> None:
    with pytest.raises(ValidationError, match="strength"):
        type(structure).model_validate({**structure.model_dump(), "strength": 1})


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
