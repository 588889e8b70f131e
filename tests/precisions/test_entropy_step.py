"""Entropy-constrained steps: an error of at most half the step, finer where rows are frequent."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from strategies import each_shape, frequencies, gaussian

from autocompress.precisions import EntropyStep
from autocompress.structures import Factor, Matrix, Shape

QUARTER_OCTAVE = 2.0**0.25


def decoded(precision: EntropyStep, factor: Factor) -> Matrix:
    streams = precision.encode(factor)
    return precision.decode(streams, (factor.values.shape[0], factor.values.shape[1]), None)


def rms(values: Matrix) -> float:
    return float(np.sqrt(np.mean(values.astype(np.float64) ** 2)))


def row_steps(precision: EntropyStep, factor: Factor) -> NDArray[np.float64]:
    """Return the step of every row, in units of the root mean square, from what is stored."""
    streams = precision.encode(factor)
    differences = streams.get("row_exponents", np.zeros((1, factor.values.shape[0])))
    base = float(streams["step"][0, 0]) / rms(factor.values)
    steps: NDArray[np.float64] = base * QUARTER_OCTAVE ** np.cumsum(differences)
    return steps


@each_shape
@pytest.mark.parametrize("step", [0.01, 0.3, 2.0])
def test_the_error_is_at_most_half_the_step(shape: Shape, step: float) -> None:
    values = gaussian(shape)
    error = np.abs(decoded(EntropyStep(step=step), Factor(values)) - values)
    assert error.max() <= step * rms(values) / 2 * (1 + 1e-5)


@each_shape
@pytest.mark.parametrize("exponent", [0.25, 1.0])
def test_the_error_is_at_most_half_the_step_of_the_row(shape: Shape, exponent: float) -> None:
    factor = Factor(gaussian(shape), row_frequencies=frequencies(shape[0]))
    precision = EntropyStep(step=0.1, frequency_exponent=exponent)
    error = np.abs(decoded(precision, factor) - factor.values).max(axis=1)
    assert (error <= row_steps(precision, factor) * rms(factor.values) / 2 * (1 + 1e-5)).all()


@each_shape
def test_the_step_is_relative_to_the_root_mean_square(shape: Shape) -> None:
    small = EntropyStep(step=0.2).encode(Factor(gaussian(shape)))["codes"]
    large = EntropyStep(step=0.2).encode(Factor(gaussian(shape) * 1024))["codes"]
    assert np.array_equal(small, large)


def test_frequent_rows_have_finer_steps() -> None:
    factor = Factor(gaussian((40, 5)), row_frequencies=frequencies(40))
    steps = row_steps(EntropyStep(step=0.1, frequency_exponent=0.5), factor)
    assert (np.diff(steps) >= 0).all()
    assert steps[0] < 0.3 * steps[-1]


@pytest.mark.parametrize("exponent", [0.25, 0.5, 1.0])
def test_steps_fall_with_the_power_of_the_frequency(exponent: float) -> None:
    counts = np.exp2(np.arange(3, 15, dtype=np.float64)) - 1  # one is added to every count
    factor = Factor(gaussian((12, 5)), row_frequencies=counts)
    steps = row_steps(EntropyStep(step=0.1, frequency_exponent=exponent), factor)
    slope = np.polyfit(np.log2(counts + 1), np.log2(steps), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.02)


def test_the_geometric_mean_of_the_steps_is_the_step() -> None:
    factor = Factor(gaussian((400, 5)), row_frequencies=frequencies(400))
    steps = row_steps(EntropyStep(step=0.1, frequency_exponent=0.7), factor)
    assert np.exp(np.log(steps).mean()) == pytest.approx(0.1, rel=0.03)


def test_steps_are_rounded_to_quarter_octaves() -> None:
    factor = Factor(gaussian((30, 5)), row_frequencies=frequencies(30))
    precision = EntropyStep(step=0.1, frequency_exponent=0.5)
    octaves = np.log2(frequencies(30) + 1)
    ideal = 0.1 * 2 ** (-0.5 * (octaves - octaves.mean()))
    assert np.abs(np.log2(row_steps(precision, factor) / ideal)).max() <= 0.125 + 1e-6


def test_without_an_exponent_frequencies_change_nothing() -> None:
    values, precision = gaussian((30, 5)), EntropyStep(step=0.1)
    known = precision.encode(Factor(values, row_frequencies=frequencies(30)))
    unknown = precision.encode(Factor(values))
    assert list(known) == list(unknown) == ["codes", "step"]
    assert np.array_equal(known["codes"], unknown["codes"])


def test_without_frequencies_all_rows_have_one_step() -> None:
    precision = EntropyStep(step=0.1, frequency_exponent=0.5)
    assert "row_exponents" not in precision.encode(Factor(gaussian((30, 5))))


@pytest.mark.parametrize(("exponent", "expected"), [(0.0, False), (0.5, True)])
def test_only_an_exponent_needs_frequencies(exponent: float, expected: bool) -> None:
    precision = EntropyStep(step=1, frequency_exponent=exponent)
    assert precision.needs_row_frequencies is expected


def test_zero_is_a_level() -> None:
    values = np.array([[0, 3, -5, 0, 0.1]], np.float32)
    codes = EntropyStep(step=0.5).encode(Factor(values))["codes"]
    assert codes[0, [0, 3]].tolist() == [0, 0]


@pytest.mark.parametrize("step", [1e-9, 1e-10, 1e-300])
def test_steps_that_are_too_fine_are_refused(step: float) -> None:
    misfit = EntropyStep(step=step).misfit(Factor(gaussian((8, 8))))
    assert misfit is not None
    assert f"<= {2**30}` must hold, but step={step:g} gives" in misfit


def test_steps_that_are_too_fine_for_a_frequent_row_are_refused() -> None:
    factor = Factor(gaussian((40, 5)), row_frequencies=frequencies(40))
    assert EntropyStep(step=5e-9).misfit(factor) is None
    assert EntropyStep(step=5e-9, frequency_exponent=1).misfit(factor) is not None


@pytest.mark.parametrize("step", [1e39, 1e300])
def test_steps_beyond_single_precision_are_refused(step: float) -> None:
    misfit = EntropyStep(step=step).misfit(Factor(gaussian((8, 8))))
    assert misfit is not None
    assert f"step={step:g} is too large" in misfit


def test_the_finest_step_that_fits_is_nearly_exact() -> None:
    values, precision = gaussian((8, 8)), EntropyStep(step=1e-8)
    assert precision.misfit(Factor(values)) is None
    assert np.allclose(decoded(precision, Factor(values)), values, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("size", [1, 2, 31, 10**7])
def test_a_wrong_number_of_row_exponents_is_refused(size: int) -> None:
    precision = EntropyStep(step=0.1)
    streams = precision.encode(Factor(gaussian((30, 5))))
    streams["row_exponents"] = np.broadcast_to(np.int64(1), (1, size))
    with pytest.raises(ValueError, match=f"30 rows need as many exponents, not {size}"):
        precision.decode(streams, (30, 5), None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"step": 0},
        {"step": -1},
        {"step": math.inf},
        {"step": math.nan},
        {"frequency_exponent": -0.1},
        {"frequency_exponent": 1.1},
    ],
)
def test_hyper_parameters_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        EntropyStep.model_validate({"step": 1, **wrong})
