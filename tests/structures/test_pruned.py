"""Magnitude pruning keeps the largest elements and nothing else."""

import math
from typing import Literal

import numpy as np
import pytest
from pydantic import ValidationError
from strategies import each_shape, gaussian

from autocompress.structures import STRUCTURES, Dense, Factor, LowRank, Matrix, Pruned, Shape

each_sparsity = pytest.mark.parametrize("sparsity", [0.2, 0.5, 0.85])


def prune(weight: Matrix, sparsity: float) -> Factor:
    return Pruned(sparsity=sparsity).factorize(weight, None)["weight"]


@each_shape
@each_sparsity
def test_exactly_the_promised_number_is_kept(shape: Shape, sparsity: float) -> None:
    kept = prune(gaussian(shape), sparsity).values != 0
    size = math.prod(shape)
    assert kept.sum() == size - round(sparsity * size)


@each_shape
@each_sparsity
def test_what_is_kept_is_kept_bit_for_bit(shape: Shape, sparsity: float) -> None:
    weight = gaussian(shape)
    factor = prune(weight, sparsity)
    assert factor.mask is not None
    assert factor.values[factor.mask].tobytes() == weight[factor.mask].tobytes()


@each_shape
@each_sparsity
def test_the_largest_magnitudes_are_kept(shape: Shape, sparsity: float) -> None:
    weight = gaussian(shape)
    mask = prune(weight, sparsity).mask
    assert mask is not None
    assert np.abs(weight[mask]).min() >= np.abs(weight[~mask]).max()


def test_of_equal_magnitudes_the_earlier_is_pruned() -> None:
    weight = np.where(np.arange(4096) % 3, 1, -1).astype(np.float32)[None, :]
    factor = prune(weight, 0.25)
    assert not factor.values[0, :1024].any()
    assert np.array_equal(factor.values[0, 1024:], weight[0, 1024:])


def test_the_number_kept_holds_with_zeros_in_the_weight() -> None:
    factor = prune(np.zeros((4, 5), np.float32), 0.25)
    assert factor.mask is not None
    assert factor.mask.sum() == 15


@pytest.mark.parametrize(("sparsity", "n_pruned"), [(0.01, 0), (0.99, 8)])
def test_a_sparsity_that_prunes_nothing_or_all_is_named(sparsity: float, n_pruned: int) -> None:
    misfit = Pruned(sparsity=sparsity).misfit((1, 8))
    assert misfit is not None
    assert f"sparsity={sparsity:g} of 8 elements prunes {n_pruned}" in misfit


@pytest.mark.parametrize("sparsity", [0, 1, -0.5, math.nan])
def test_sparsity_lies_between_zero_and_one(sparsity: float) -> None:
    with pytest.raises(ValidationError, match="sparsity"):
        Pruned(sparsity=sparsity)


def test_the_factors_of_a_decomposition_are_pruned_each() -> None:
    structure = Pruned(sparsity=0.5, of=LowRank(rank=4))
    weight = gaussian((30, 20))
    whole = LowRank(rank=4).factorize(weight, None)
    factors = structure.factorize(weight, None)
    for name, factor in factors.items():
        assert factor.mask is not None
        assert factor.mask.sum() == factor.values.size // 2
        assert np.array_equal(factor.values[factor.mask], whole[name].values[factor.mask])
        assert not factor.values[~factor.mask].any()
    product = factors["left"].values @ factors["right"].values
    values = {name: factor.values for name, factor in factors.items()}
    assert np.array_equal(structure.reconstruct(values), product)


def test_what_the_inner_structure_refuses_is_refused() -> None:
    misfit = Pruned(sparsity=0.5, of=LowRank(rank=9)).misfit((8, 8))
    assert misfit is not None
    assert "rank=9" in misfit


def test_whatever_says_that_it_is_prunable_can_be_pruned(monkeypatch: pytest.MonkeyPatch) -> None:
    class Halved(Dense):
        kind: Literal["halved"] = "halved"  # type: ignore[assignment]

    class Whole(Halved):
        kind: Literal["whole"] = "whole"  # type: ignore[assignment]
        prunable = False

    monkeypatch.setitem(STRUCTURES._items, "halved", Halved)
    monkeypatch.setitem(STRUCTURES._items, "whole", Whole)
    document = {"kind": "pruned", "sparsity": 0.5, "of": {"kind": "halved"}}
    structure = Pruned.model_validate(document)
    assert structure.of == Halved()
    assert structure.method == "pruned halved"
    assert structure.model_dump() == document
    with pytest.raises(ValidationError, match=r"'whole' .* expected tags: 'dense'.*'halved'"):
        Pruned.model_validate({**document, "of": {"kind": "whole"}})
