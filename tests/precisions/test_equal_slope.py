"""Steps of equal slope, and error feedback."""

from dataclasses import replace

import numpy as np
import pytest
from strategies import gaussian

from autocompress.precisions import EqualSlope
from autocompress.precisions.feedback import without_feedback
from autocompress.structures import Curvature, Factor, Matrix


def correlated(cols: int, seed: int = 3) -> np.ndarray:
    """Return the second moment of inputs that are much alike."""
    inputs = np.random.default_rng(seed).normal(size=(4 * cols, cols))
    inputs += 2 * inputs[:, :1]
    moment: np.ndarray = inputs.T @ inputs / len(inputs)
    return moment


def known(shape: tuple[int, int] = (300, 40), seed: int = 0) -> Factor:
    rows = np.exp(np.random.default_rng(seed).normal(size=shape[0]))
    return Factor(gaussian(shape), curvature=Curvature(rows, correlated(shape[1])))


def rise(factor: Factor, values: Matrix) -> float:
    assert factor.curvature is not None
    return factor.curvature.rise(values - factor.values)


def entropy(codes: np.ndarray) -> float:
    """Return the bits of all codes, each column by its own frequencies."""
    bits = 0.0
    for column in codes.T:
        _, counts = np.unique(column, return_counts=True)
        bits -= float((counts * np.log2(counts / counts.sum())).sum())
    return bits


def test_without_a_moment_each_element_is_at_most_half_a_step_off() -> None:
    factor = Factor(gaussian((50, 30)), nearest=True)
    precision = EqualSlope(slope=1e-5)
    error = np.abs(precision.quantize(factor) - factor.values)
    assert (error <= 0.5001 * precision.steps(factor)).all()
    assert error.max() > 0.4 * precision.steps(factor).max()


def test_steps_go_with_the_root_of_what_errors_cost() -> None:
    values = gaussian((6, 4))
    curvature = Curvature(np.array([1, 1, 1, 16, 16, 16.0]), np.array([1, 1, 4, 4.0]))
    steps = EqualSlope(slope=1e-3).steps(Factor(values, curvature=curvature))
    np.testing.assert_allclose(steps[0] / steps[3], 4)
    np.testing.assert_allclose(steps[:, 0] / steps[:, 2], 2)
    assert steps[0, 0] == pytest.approx(np.sqrt(12e-3 / np.log(2)), rel=0.3)


def test_feedback_lowers_the_rise_of_the_loss() -> None:
    factor = known()
    assert factor.curvature is not None
    nearest = Factor(factor.values, curvature=without_feedback(factor.curvature), nearest=True)
    precision = EqualSlope(slope=1e-3)
    np.testing.assert_array_equal(precision.steps(factor), precision.steps(nearest))
    fed_back = rise(factor, precision.quantize(factor))
    assert fed_back < 0.5 * rise(factor, precision.quantize(nearest))


def test_the_rise_is_that_of_uniform_errors_in_steps() -> None:
    """At high rate an element of step d and cost c adds c d^2 / 24, with c what is left of it.

    What is left is told with a little damping, so that the prediction is somewhat high.
    """
    factor = known((2000, 40))
    precision = EqualSlope(slope=1e-4)
    assert factor.curvature is not None
    pivots = without_feedback(factor.curvature).moment
    costs = factor.curvature.rows[:, None] * pivots
    predicted = float((costs * np.square(precision.steps(factor))).sum() / 24)
    assert rise(factor, precision.quantize(factor)) == pytest.approx(predicted, rel=0.1)


def test_a_bit_is_worth_the_slope() -> None:
    factor = known((20_000, 12))
    fine, coarse = EqualSlope(slope=1e-4), EqualSlope(slope=4e-4)
    rises = [rise(factor, precision.quantize(factor)) for precision in (fine, coarse)]
    codes = [precision.encode(factor)["codes"] for precision in (fine, coarse)]
    worth = (rises[1] - rises[0]) / (entropy(codes[0]) - entropy(codes[1]))
    assert worth == pytest.approx(2e-4, rel=0.15)  # between the two slopes


def test_zeros_stay_zeros() -> None:
    factor = known()
    factor.values[:, ::3] = 0
    values = EqualSlope(slope=1e-3).quantize(factor)
    assert not values[:, ::3].any()
    assert values.any()


@pytest.mark.parametrize("octaves", [-1.0, 0.5, 2.0])
def test_widening_multiplies_the_steps(octaves: float) -> None:
    factor, precision = known(), EqualSlope(slope=1e-3)
    wider = precision.widened(octaves).steps(factor)
    np.testing.assert_allclose(wider, precision.steps(factor) * 2**octaves, rtol=1e-6)


def test_rows_of_zeros_and_matrices_of_zeros_are_exact() -> None:
    zeros = np.zeros((5, 3), dtype=np.float32)
    assert not EqualSlope(slope=1e-3).quantize(Factor(zeros)).any()


@pytest.mark.parametrize(("slope", "rule"), [(1e-40, "weight"), (1e300, "too large")])
def test_absurd_slopes_do_not_fit(slope: float, rule: str) -> None:
    misfit = EqualSlope(slope=slope).misfit(Factor(gaussian((5, 3))))
    assert misfit is not None
    assert rule in misfit


def test_missing_exponents_are_refused() -> None:
    precision, factor = EqualSlope(slope=1e-3), known((40, 6))
    streams = precision.encode(factor)
    streams["row_exponents"] = streams["row_exponents"][:, :-1]
    with pytest.raises(ValueError, match="40 row_exponents are needed"):
        precision.decode(streams, (40, 6), None)


def test_the_label_has_the_slope() -> None:
    assert EqualSlope(slope=2.5e-8).label() == "slope 2.5e-08"


@pytest.mark.parametrize("slope", [1e-6, 1e-4])
def test_rounding_by_what_bits_cost_beats_the_nearest_level(slope: float) -> None:
    rows = np.exp(np.random.default_rng(5).normal(size=2000))
    scales = np.exp2(-np.arange(30) / 4) / 8
    values = (np.random.default_rng(6).laplace(size=(2000, 30)) * scales).astype(np.float32)
    factor = Factor(values, curvature=Curvature(rows / rows.size, np.ones(30)))
    precision = EqualSlope(slope=slope)

    def cost(nearest: bool) -> float:
        stored = replace(factor, nearest=nearest)
        codes = precision.encode(stored)["codes"]
        return rise(factor, precision.quantize(stored)) + slope * entropy(codes)

    assert cost(nearest=False) < 0.99 * cost(nearest=True)


def test_rounding_never_leaves_the_sign_or_the_two_levels_around() -> None:
    factor = known()
    curvature = without_feedback(factor.curvature) if factor.curvature else None
    factor = Factor(factor.values, curvature=curvature)
    precision = EqualSlope(slope=1e-2)
    scaled = factor.values / precision.steps(factor)
    codes = precision.encode(factor)["codes"]
    assert (np.abs(codes) <= np.rint(np.abs(scaled))).all()
    assert (np.abs(codes) >= np.floor(np.abs(scaled)) - 1).all()
    assert (codes * scaled >= 0).all()
    assert (np.abs(codes) < np.rint(np.abs(scaled))).any()
