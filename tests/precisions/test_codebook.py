"""A codebook has its levels at the means of their cells, which is where they err least."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from strategies import each_shape, gaussian, tiny_source, treat

from autocompress.artifact import open_artifact
from autocompress.encoding.encoder import Encoder, uncompressed_plan
from autocompress.errors import PlanError
from autocompress.precisions import Codebook, Uniform
from autocompress.structures import Dense, Factor, Matrix, Pruned, Shape

each_bits = pytest.mark.parametrize("bits", range(1, 9))


def levels(precision: Codebook, factor: Factor) -> NDArray[np.float64]:
    return precision.encode(factor)["levels"].ravel().astype(np.float64)


def relative_error(decoded: Matrix, values: Matrix) -> float:
    return float(np.mean(np.square(decoded - values)) / np.mean(np.square(values)))


@pytest.mark.parametrize(
    ("bits", "expected"), [(1, 0.3634), (2, 0.1175), (3, 0.03454), (4, 0.009497)]
)
def test_normal_values_err_as_the_theory_says(bits: int, expected: float) -> None:
    # J. Max. Quantizing for Minimum Distortion. IRE Transactions 1960, table 1.
    values = gaussian((100, 500))
    decoded = Codebook(bits=bits).quantize(Factor(values))
    assert relative_error(decoded, values) == pytest.approx(expected, rel=0.03)


@each_shape
def test_the_error_does_not_grow_with_the_bits(shape: Shape) -> None:
    values = gaussian(shape)
    errors = [
        relative_error(Codebook(bits=bits).quantize(Factor(values)), values)
        for bits in range(1, 9)
    ]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_levels_err_less_than_as_many_even_ones(bits: int) -> None:
    values = gaussian((50, 60))
    codebook, uniform = (
        relative_error(precision.quantize(Factor(values)), values)
        for precision in (Codebook(bits=bits), Uniform(bits=bits, group="tensor"))
    )
    assert codebook < uniform


@each_bits
@each_shape
def test_levels_ascend_and_lie_within_the_values(shape: Shape, bits: int) -> None:
    found = levels(Codebook(bits=bits), Factor(gaussian(shape)))
    assert found.shape == (2**bits,)
    assert (np.diff(found) >= 0).all()
    assert found[0] >= np.float16(gaussian(shape).min())
    assert found[-1] <= np.float16(gaussian(shape).max())


def means_of_cells(codes: NDArray[np.int64], values: Matrix) -> NDArray[np.float64]:
    """Return the mean of the values of each code, NaN where there are none."""
    sums = np.bincount(codes.ravel(), values.ravel().astype(np.float64), minlength=256)
    with np.errstate(invalid="ignore"):
        return sums / np.bincount(codes.ravel(), minlength=256)


@pytest.mark.parametrize("bits", range(1, 6))
def test_each_level_is_the_mean_of_its_cell(bits: int) -> None:
    values = gaussian((40, 50))
    streams = Codebook(bits=bits).encode(Factor(values))
    means = means_of_cells(streams["codes"], values)[: 2**bits]
    used = np.isfinite(means)
    found = streams["levels"].ravel().astype(np.float64)
    # Half precision moves the levels, and a value between two of them may change its cell.
    assert found[used] == pytest.approx(means[used], rel=2.0**-9, abs=2e-3)


@each_bits
def test_no_other_levels_serve_the_codes_better(bits: int) -> None:
    values = gaussian((40, 50))
    precision = Codebook(bits=bits)
    means = means_of_cells(precision.encode(Factor(values))["codes"], values)
    best = means[precision.encode(Factor(values))["codes"]]
    least = np.square(best - values).sum()
    assert np.square(precision.quantize(Factor(values)) - values).sum() < 1.01 * least


@each_bits
def test_each_value_gets_the_nearest_level(bits: int) -> None:
    values = gaussian((12, 30))
    precision = Codebook(bits=bits)
    distances = np.abs(values[..., None] - levels(precision, Factor(values)))
    error = np.abs(precision.quantize(Factor(values)).astype(np.float64) - values)
    assert error == pytest.approx(distances.min(axis=-1), abs=1e-6)


@pytest.mark.parametrize("n_distinct", [1, 2, 5, 8])
def test_no_more_values_than_levels_are_exact_in_half_precision(n_distinct: int) -> None:
    # Far from even: k-means from even levels alone would merge the small ones.
    choices = (-1.7) ** np.arange(0, -n_distinct, -1)
    values = np.random.default_rng(2).choice(choices, (9, 20)).astype(np.float32)
    decoded = Codebook(bits=3).quantize(Factor(values))
    assert np.array_equal(decoded, values.astype(np.float16))


def test_equal_levels_are_not_told_apart() -> None:
    values = np.array([[1.0, 1.0003, 0.9999, 2.0003, 2.0]], np.float32)
    codes = Codebook(bits=3).encode(Factor(values))["codes"]
    assert codes.tolist() == [[0, 0, 0, 1, 1]]


@each_bits
@pytest.mark.parametrize("shift", [-3e4, 1e-3, 300.0])
def test_levels_follow_values_far_from_zero(bits: int, shift: float) -> None:
    values = gaussian((7, 90)) + np.float32(shift)
    error = np.abs(Codebook(bits=bits).quantize(Factor(values)) - values)
    reach = values.max() - values.min()
    assert error.max() <= reach / 2 + 2.0**-11 * np.abs(values).max()


@each_shape
def test_levels_depend_only_on_what_a_mask_leaves(shape: Shape) -> None:
    mask = np.random.default_rng(3).random(shape) < 0.5
    mask.flat[0] = True
    values = np.where(mask, gaussian(shape) + 9, np.float32(0))
    found = levels(Codebook(bits=4), Factor(values, mask=mask))
    assert found.min() >= np.float16(values[mask].min())


def test_nothing_may_be_left() -> None:
    values, mask = np.zeros((3, 4), np.float32), np.zeros((3, 4), np.bool_)
    assert not Codebook(bits=2).quantize(Factor(values, mask=mask)).any()


def test_streams_are_codes_and_half_precision_levels() -> None:
    streams = Codebook(bits=3).encode(Factor(gaussian((7, 5))))
    assert {name: (stream.shape, stream.dtype) for name, stream in streams.items()} == {
        "codes": ((7, 5), np.dtype(np.int64)),
        "levels": ((1, 8), np.dtype(np.float16)),
    }


def test_values_beyond_half_precision_are_refused() -> None:
    misfit = Codebook(bits=4).misfit(Factor(np.array([[1, -7e4]], np.float32)))
    assert misfit is not None
    assert "at most 65504, but the largest is 70000" in misfit


@pytest.mark.parametrize("code", [-1, 8, 2**40])
def test_a_code_without_a_level_is_refused(code: int) -> None:
    streams = Codebook(bits=3).encode(Factor(gaussian((7, 5))))
    streams["codes"][3, 2] = code
    with pytest.raises(ValueError, match=f"{code}.* for 8 levels"):
        Codebook(bits=3).decode(streams, (7, 5), None)


def test_another_number_of_levels_is_refused() -> None:
    streams = Codebook(bits=3).encode(Factor(gaussian((7, 5))))
    with pytest.raises(ValueError, match="16 levels are needed, but got 8"):
        Codebook(bits=4).decode(streams, (7, 5), None)


@pytest.mark.parametrize("bits", [0, 9, 2.5])
def test_bits_are_from_one_to_eight(bits: float) -> None:
    with pytest.raises(ValidationError, match="bits"):
        Codebook.model_validate({"bits": bits})


@pytest.mark.parametrize("structure", [Dense(), Pruned(sparsity=0.8)])
def test_files_hold_the_levels(tmp_path: Path, structure: Dense | Pruned) -> None:
    name, source = "lstm.weight_ih_l0", tiny_source()
    plan = uncompressed_plan(source)
    plan.treatments[name] = treat(structure, Codebook(bits=3))
    Encoder(source).write(plan, tmp_path / "model.acz")
    decoded = open_artifact(tmp_path / "model.acz").state_dict()[name]
    factor = structure.factorize(source.weights.weights[name].matrix, None)["weight"]
    assert np.array_equal(decoded, Codebook(bits=3).quantize(factor))
    assert np.unique(decoded).size <= 8 + isinstance(structure, Pruned)


def test_a_weight_beyond_half_precision_is_named(tmp_path: Path) -> None:
    source = tiny_source()
    source.weights.weights["head.weight"].values[0, 0] = 1e5
    plan = uncompressed_plan(source)
    plan.treatments["head.weight"] = treat(Dense(), Codebook(bits=3))
    with pytest.raises(PlanError, match=r"'dense \+ 3 bit codebook' does not fit 'head.weight'"):
        Encoder(source).write(plan, tmp_path / "model.acz")
