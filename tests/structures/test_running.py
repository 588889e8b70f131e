"""Weights that multiply from their factors, arrays and tensors alike."""

from typing import Any

import numpy as np
import pytest
import torch
from strategies import STRUCTURES, each_fitting, frequencies, gaussian

from autocompress.structures import (
    Dense,
    GroupReduce,
    LowRank,
    Matrix,
    Pruned,
    Shape,
    Structure,
    TensorTrain,
    Thin,
    VectorQuantized,
)

IDS = np.array([[0, 3, 3], [6, 1, 0]])


def factors_of(structure: Structure, shape: Shape) -> dict[str, Matrix]:
    factors = structure.factorize(gaussian(shape), frequencies(shape[0]))
    return {name: factor.values for name, factor in factors.items()}


def as_tensors(structure: Structure, factors: dict[str, Matrix], shape: Shape) -> dict[str, Any]:
    """Return factors as recovery hands them in: tensors, but for whole numbers."""
    whole = structure.integer_shapes(shape)
    return {
        name: values if name in whole else torch.from_numpy(values).requires_grad_()
        for name, values in factors.items()
    }


def test_low_rank_is_one_block_of_its_factors() -> None:
    structure = LowRank(rank=3)
    factors = factors_of(structure, (9, 7))
    thin = structure.thin(factors)
    assert thin.lefts == [factors["left"]]
    assert thin.rights == [factors["right"]]
    assert thin.order is None
    assert structure.multiplications((9, 7), factors) == 9 * 3 + 3 * 7


def test_groups_say_where_each_row_lies() -> None:
    structure = GroupReduce(blocks=3, rank=4)
    counts = frequencies(30)[np.random.default_rng(1).permutation(30)]
    made = structure.factorize(gaussian((30, 20)), counts)
    factors = {name: factor.values for name, factor in made.items()}
    thin = structure.thin(factors)
    assert thin.order is not None
    blocks = [left @ right for left, right in zip(thin.lefts, thin.rights, strict=True)]
    assert np.array_equal(np.concatenate(blocks)[thin.order], structure.reconstruct(factors))


def test_groups_in_order_need_no_order() -> None:
    structure = GroupReduce(blocks=3, rank=4, rounds=0)
    thin = structure.thin(factors_of(structure, (30, 20)))
    assert len(thin.lefts) == 3
    assert thin.order is None


def test_blocks_that_lost_their_rows_are_left_out() -> None:
    structure = GroupReduce(blocks=3, rank=2)
    factors: dict[str, Matrix] = {
        "assignment": np.array([[2, 0, 1, 2]], np.float32),  # rows of blocks 2, 2, 0, 2
        "left0": gaussian((1, 1)), "right0": gaussian((1, 5)),
        "left2": gaussian((3, 2)), "right2": gaussian((2, 5)),
    }  # fmt: skip
    thin = structure.thin(factors)
    assert [left.shape[0] for left in thin.lefts] == [1, 3]
    assert np.array_equal(thin.rows(np.arange(4)), structure.reconstruct(factors))


def test_a_train_counts_its_contractions() -> None:
    structure = TensorTrain(rank=2, modes=2)
    # Modes of 6 x 4: rows (2, 3), columns (2, 2); cores (1, 2, 2, 2) and (2, 3, 2, 1).
    assert structure.multiplications((6, 4), {}) == 8 * 2 + 2 * 12


@pytest.mark.parametrize("structure", [Dense(), VectorQuantized(dimension=2, bits=2)])
def test_what_is_decoded_takes_as_many_as_the_weight_has_elements(structure: Structure) -> None:
    factors = factors_of(structure, (9, 8))
    assert structure.thin(factors) is None
    assert structure.multiplications((9, 8), factors) == 72


@pytest.mark.parametrize("inner", [LowRank(rank=3), TensorTrain(rank=2), Dense()])
def test_pruned_factors_run_as_they_would_without_zeros(inner: Structure) -> None:
    structure = Pruned(sparsity=0.5, of=inner)
    factors = factors_of(structure, (12, 10))
    assert structure.base == inner
    assert structure.multiplications((12, 10), factors) == inner.multiplications((12, 10), factors)
    x = gaussian((3, 10))
    assert np.array_equal(structure.times(factors, x), inner.times(factors, x))


@each_fitting
def test_tensors_run_as_arrays_do(structure: Structure, shape: Shape) -> None:
    factors = factors_of(structure, shape)
    tensors = as_tensors(structure, factors, shape)
    x, ids = gaussian((2, 3, shape[1])), IDS % shape[0]
    for given in (tensors, {name: torch.from_numpy(values) for name, values in factors.items()}):
        times = structure.times(given, torch.from_numpy(x)).detach().numpy()
        rows = structure.rows(given, torch.from_numpy(ids)).detach().numpy()
        assert np.allclose(times, structure.times(factors, x), atol=1e-4)
        assert np.allclose(rows, structure.rows(factors, ids), atol=1e-5)


@each_fitting
def test_gradients_are_those_of_the_decoded_weight(structure: Structure, shape: Shape) -> None:
    x, ids = torch.from_numpy(gaussian((4, shape[1]))), torch.from_numpy(IDS % shape[0])
    factors = factors_of(structure, shape)
    found = []
    for decoded in (True, False):
        tensors = as_tensors(structure, factors, shape)
        if decoded:
            weight: Any = structure.reconstruct(tensors)
            outputs = x @ weight.T, weight[ids]
        else:
            outputs = structure.times(tensors, x), structure.rows(tensors, ids)
        sum(output.square().sum() for output in outputs).backward()
        whole = structure.integer_shapes(shape)
        found.append({name: t.grad.numpy() for name, t in tensors.items() if name not in whole})
    for name, gradient in found[0].items():
        scale = np.abs(gradient).max() + 1e-6
        assert np.allclose(found[1][name] / scale, gradient / scale, atol=1e-4)


def test_thin_products_of_several_blocks_are_differentiable() -> None:
    order = np.array([2, 0, 3, 1])
    lefts = [torch.from_numpy(gaussian((2, 2), s)).requires_grad_() for s in (1, 2)]
    rights = [torch.from_numpy(gaussian((2, 3), s)).requires_grad_() for s in (3, 4)]
    thin = Thin(lefts, rights, order)
    weight = torch.cat([left @ right for left, right in zip(lefts, rights, strict=True)])[order]
    x = torch.from_numpy(gaussian((5, 3)))
    assert torch.allclose(thin.times(x), x @ weight.T, atol=1e-6)
    assert torch.allclose(thin.rows(torch.tensor([3, 0])), weight[[3, 0]], atol=1e-6)
    thin.times(x).sum().backward()
    assert all(part.grad is not None and part.grad.any() for part in (*lefts, *rights))


@pytest.mark.parametrize(
    ("structure", "method"),
    [
        (LowRank(rank=3), "low_rank"),
        (Pruned(sparsity=0.5), "pruned"),
        (Pruned(sparsity=0.5, of=LowRank(rank=3)), "pruned low_rank"),
    ],
)
def test_methods_are_named_with_what_is_within(structure: Structure, method: str) -> None:
    assert structure.method == method


def test_only_what_is_pruned_has_a_sparsity() -> None:
    assert {one.sparsity for one in STRUCTURES} == {0.0, 0.3, 0.6, 0.85}
    assert Pruned(sparsity=0.3).sparsity == 0.3
    assert LowRank(rank=1).base == LowRank(rank=1)


def test_papers_count_the_indices_of_a_codebook_alone() -> None:
    structure = VectorQuantized(dimension=4, bits=3)
    assert structure.counted_bits("indices") == 3
    assert structure.counted_bits("padding") == 0
    assert GroupReduce(blocks=2, rank=2).counted_bits("assignment") == 0
