"""Low rank is the best approximation of its rank."""

import numpy as np
import pytest
from pydantic import ValidationError
from strategies import gaussian

from autocompress.structures import Curvature, LowRank, Matrix, Shape


def approximate(weight: Matrix, rank: int) -> Matrix:
    structure = LowRank(rank=rank)
    factors = structure.factorize(weight, None)
    return structure.reconstruct({name: factor.values for name, factor in factors.items()})


def of_rank(rank: int, shape: Shape) -> Matrix:
    return gaussian((shape[0], rank), 1) @ gaussian((rank, shape[1]), 2)


MATRICES = [
    pytest.param(gaussian((60, 9)), id="tall"),
    pytest.param(gaussian((9, 60)), id="wide"),
    pytest.param(gaussian((24, 24)), id="square"),
    pytest.param(of_rank(3, (30, 20)), id="deficient"),
    pytest.param(gaussian((40, 25)) * np.logspace(0, -6, 25, dtype=np.float32), id="decaying"),
    pytest.param(np.ones((12, 7), np.float32), id="constant"),
    pytest.param(np.zeros((7, 12), np.float32), id="zero"),
    pytest.param(gaussian((20, 30), scale=1e-15), id="tiny"),
    pytest.param(gaussian((20, 30), scale=1e15), id="huge"),
]


@pytest.mark.parametrize("rank", [1, 2, 5])
@pytest.mark.parametrize("weight", MATRICES)
def test_the_error_is_the_norm_of_the_singular_values_left_out(weight: Matrix, rank: int) -> None:
    tail = np.linalg.norm(np.linalg.svd(weight.astype(np.float64), compute_uv=False)[rank:])
    error = np.linalg.norm(approximate(weight, rank).astype(np.float64) - weight)
    norm = float(np.linalg.norm(weight.astype(np.float64)))
    assert error == pytest.approx(tail, rel=1e-5, abs=1e-6 * norm)


@pytest.mark.parametrize("weight", MATRICES)
def test_full_rank_is_exact(weight: Matrix) -> None:
    norm = float(np.linalg.norm(weight.astype(np.float64)))
    error = np.linalg.norm(approximate(weight, min(weight.shape)).astype(np.float64) - weight)
    assert error <= 1e-6 * norm


def test_the_true_rank_is_exact() -> None:
    weight = of_rank(3, (30, 20))
    assert np.allclose(approximate(weight, 3), weight, atol=1e-5)


@pytest.mark.parametrize("weight", MATRICES)
def test_both_factors_are_finite(weight: Matrix) -> None:
    factors = LowRank(rank=4).factorize(weight, None)
    assert all(np.isfinite(factor.values).all() for factor in factors.values())


def test_singular_values_are_split_evenly() -> None:
    factors = LowRank(rank=4).factorize(gaussian((50, 30)), None)
    left, right = factors["left"].values, factors["right"].values
    norms = np.linalg.norm(left, axis=0)
    assert np.allclose(norms, np.linalg.norm(right, axis=1), rtol=1e-5)


@pytest.mark.parametrize("shape", [(8, 5), (5, 8)])
def test_a_rank_above_the_shape_is_named(shape: Shape) -> None:
    misfit = LowRank(rank=6).misfit(shape)
    assert misfit is not None
    assert "rank=6" in misfit
    assert f"`1 <= rank <= 5` must hold for shape {shape}" in misfit


@pytest.mark.parametrize("shape", [(1, 8), (8, 1), (1, 1)])
def test_vectors_are_refused(shape: Shape) -> None:
    assert LowRank(rank=1).misfit(shape) == f"low rank needs a matrix, but the shape is {shape}"


@pytest.mark.parametrize("rank", [0, -1, 1.5, "many"])
def test_ranks_are_positive_integers(rank: object) -> None:
    with pytest.raises(ValidationError, match="rank"):
        LowRank.model_validate({"rank": rank})


def curved(rows: int, cols: int) -> Curvature:
    generator = np.random.default_rng(8)
    inputs = generator.normal(size=(3 * cols, cols)) * np.geomspace(4, 0.2, cols)
    inputs += 0.5 * inputs[:, :1]
    return Curvature(np.exp(generator.normal(size=rows)), inputs.T @ inputs / len(inputs))


def rise(weight: Matrix, structure: LowRank, curvature: Curvature) -> float:
    factors = structure.factorize(weight, None, curvature)
    values = {name: factor.values for name, factor in factors.items()}
    return curvature.rise(structure.reconstruct(values) - weight)


@pytest.mark.parametrize("rank", [1, 4, 10])
def test_the_fit_to_the_loss_leaves_the_smallest_eigenvalues(rank: int) -> None:
    """Eckart-Young in the norm of the loss."""
    weight, curvature = gaussian((40, 12)), curved(40, 12)
    root = np.linalg.cholesky(curvature.moment)
    scaled = np.sqrt(curvature.rows)[:, None] * (weight @ root)
    left_out = np.square(np.linalg.svd(scaled, compute_uv=False)[rank:]).sum() / 2
    by_loss = rise(weight, LowRank(rank=rank, fit="loss"), curvature)
    assert by_loss == pytest.approx(left_out, rel=1e-3)
    assert by_loss < 0.9 * rise(weight, LowRank(rank=rank), curvature)


@pytest.mark.parametrize("shape", [(40, 12), (9, 12)])
def test_the_fit_to_the_loss_is_exact_at_full_rank(shape: Shape) -> None:
    weight, curvature = gaussian(shape), curved(*shape)
    structure = LowRank(rank=min(shape), fit="loss")
    factors = structure.factorize(weight, None, curvature)
    values = {name: factor.values for name, factor in factors.items()}
    np.testing.assert_allclose(structure.reconstruct(values), weight, atol=2e-4)


def test_factors_of_a_fit_to_the_loss_know_what_errors_in_them_cost() -> None:
    weight, curvature = gaussian((60, 12)), curved(60, 12)
    structure = LowRank(rank=12, fit="loss")
    factors = structure.factorize(weight, None, curvature)
    for name, factor in factors.items():
        assert factor.curvature is not None
        error = 1e-3 * gaussian(factor.values.shape)
        changed = {key: other.values for key, other in factors.items()}
        changed[name] = factor.values + error
        total = curvature.rise(structure.reconstruct(changed) - weight)
        assert factor.curvature.rise(error) == pytest.approx(total, rel=0.02)


def test_without_curvature_the_elements_are_fitted() -> None:
    weight = gaussian((20, 12))
    plain = LowRank(rank=4).factorize(weight, None)
    by_loss = LowRank(rank=4, fit="loss").factorize(weight, None)
    assert all(np.array_equal(plain[name].values, by_loss[name].values) for name in plain)
    assert LowRank(rank=4, fit="loss").label() == "rank 4 by loss"


def test_a_moment_that_is_positive_up_to_rounding_can_be_fitted_to() -> None:
    basis = np.linalg.qr(gaussian((12, 12), 3).astype(np.float64))[0]
    exact = basis * np.array([*np.linspace(1, 10, 11), 0.0]) @ basis.T
    rounded = exact - 1e-5 * np.outer(basis[:, -1], basis[:, -1])
    weight, structure = gaussian((20, 12)), LowRank(rank=4, fit="loss")
    rises = []
    for moment in (exact, rounded):
        curvature = Curvature(np.ones(20), moment)
        factors = structure.factorize(weight, None, curvature)
        decoded = structure.reconstruct({name: one.values for name, one in factors.items()})
        rises.append(Curvature(np.ones(20), exact).rise(decoded - weight))
    assert rises[1] == pytest.approx(rises[0], rel=1e-3)
    with pytest.raises(ValueError, match=r"must be positive semidefinite, but .* -1"):
        structure.factorize(weight, None, Curvature(np.ones(20), exact - 11 * np.eye(12)))


def test_a_moment_that_is_not_quite_definite_is_damped_more() -> None:
    weight = gaussian((12, 6))
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0]
    moment = (basis * np.array([1.0, 0.5, 0.1, 0.0, -1e-6, -1e-5])) @ basis.T
    factors = LowRank(rank=6, fit="loss").factorize(weight, None, Curvature(np.ones(12), moment))
    product = factors["left"].values @ factors["right"].values
    np.testing.assert_allclose(product, weight, atol=1e-3)
