"""Vector quantization: as exact as its codebooks can be, and better than single elements."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from strategies import frequencies, gaussian, tiny_source, treat

from autocompress.artifact import Artifact, open_artifact
from autocompress.encoding.encoder import Encoder, uncompressed_plan
from autocompress.errors import ArtifactError, PlanError
from autocompress.precisions import Codebook, EntropyStep, Float16, Float32, Precision
from autocompress.structures import Factor, Matrix, Shape, VectorQuantized

SOURCE = tiny_source()
EMBEDDING = "embedding.weight"


def approximate(
    structure: VectorQuantized, weight: Matrix, counts: NDArray[np.float64] | None = None
) -> Matrix:
    factors = structure.factorize(weight, counts)
    return structure.reconstruct({name: factor.values for name, factor in factors.items()})


def relative_error(structure: VectorQuantized, weight: Matrix) -> float:
    difference = approximate(structure, weight) - weight
    return float(np.mean(np.square(difference)) / np.mean(np.square(weight)))


def repeating(shape: Shape, dimension: int, n_distinct: int) -> Matrix:
    """Return rows of vectors of which there are few, as wide as the shape allows."""
    choices = gaussian((n_distinct, dimension), 8)
    n_vectors = -(-shape[1] // dimension)
    chosen = np.random.default_rng(9).integers(n_distinct, size=(shape[0], n_vectors))
    return choices[chosen].reshape(shape[0], -1)[:, : shape[1]]


# Error


def test_one_bit_per_element_is_better_in_four_dimensions() -> None:
    # One bit for each element alone leaves 0.3634; the rate-distortion bound is 0.25.
    error = relative_error(VectorQuantized(dimension=4, bits=4), gaussian((200, 100)))
    assert 0.25 < error < 0.35


def test_more_dimensions_err_less_at_equal_bits_per_element() -> None:
    weight = gaussian((400, 64))
    errors = [
        relative_error(VectorQuantized(dimension=dimension, bits=dimension), weight)
        for dimension in (1, 2, 4, 8)
    ]
    # In two dimensions, one bit can do no better than the product of two scalar codebooks.
    assert errors[0] == pytest.approx(errors[1], rel=0.02)
    assert errors[1] > 1.03 * errors[2] > 1.06 * errors[3]


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_one_dimension_is_a_codebook_of_elements(bits: int) -> None:
    weight = gaussian((60, 50))
    scalar = Codebook(bits=bits).quantize(Factor(weight)) - weight
    error = relative_error(VectorQuantized(dimension=1, bits=bits), weight)
    expected = float(np.mean(np.square(scalar)) / np.mean(np.square(weight)))
    # Even levels to start from are not the best: the codebook may err more, but hardly less.
    assert 0.7 * expected < error < 1.05 * expected


@pytest.mark.parametrize(("shape", "dimension"), [((64, 64), 4), ((130, 33), 3), ((130, 33), 4)])
def test_the_error_does_not_grow_with_the_bits(shape: Shape, dimension: int) -> None:
    errors = [
        relative_error(VectorQuantized(dimension=dimension, bits=bits), gaussian(shape))
        for bits in range(1, 10)
    ]
    assert errors == sorted(errors, reverse=True)


def test_codebooks_of_parts_err_less_than_one() -> None:
    errors = [
        relative_error(VectorQuantized(dimension=4, bits=4, parts=parts), gaussian((60, 64)))
        for parts in (1, 2, 4, 8)
    ]
    assert errors == sorted(errors, reverse=True)


def test_parts_of_different_scale_have_codebooks_of_their_own() -> None:
    weight = gaussian((100, 16)) * np.repeat(np.array([1, 1000], np.float32), 8)
    small = weight[:, :8]
    shared, own = (
        float(np.linalg.norm(approximate(structure, weight)[:, :8] - small))
        for structure in (
            VectorQuantized(dimension=2, bits=4),
            VectorQuantized(dimension=2, bits=4, parts=2),
        )
    )
    assert own < 0.5 * np.linalg.norm(small) < shared


def test_parts_are_coded_apart() -> None:
    weight = gaussian((40, 20))
    halves = [
        approximate(VectorQuantized(dimension=2, bits=3), half.copy())
        for half in (weight[:, :10], weight[:, 10:])
    ]
    whole = approximate(VectorQuantized(dimension=2, bits=3, parts=2), weight)
    assert np.allclose(whole, np.concatenate(halves, axis=1), atol=1e-6)


def test_frequent_rows_are_stored_finer() -> None:
    weight, counts = gaussian((300, 32)), frequencies(300)
    structure = VectorQuantized(dimension=4, bits=5)
    plain, weighted = (
        np.square(approximate(structure, weight, given) - weight).mean(axis=1)
        for given in (None, counts)
    )
    assert weighted[:10].mean() < 0.7 * plain[:10].mean()
    assert np.average(weighted, weights=counts) < 0.8 * np.average(plain, weights=counts)


def test_equal_frequencies_change_nothing() -> None:
    structure, weight = VectorQuantized(dimension=2, bits=4), gaussian((50, 8))
    given = approximate(structure, weight, np.full(50, 41.0))
    assert np.allclose(given, approximate(structure, weight), atol=1e-6)


def test_a_sample_does_for_training() -> None:
    # 160,000 vectors, of which one in ten is drawn: still within a few percent of the theory.
    error = relative_error(VectorQuantized(dimension=1, bits=2), gaussian((400, 400)))
    assert error == pytest.approx(0.1175, rel=0.03)


def test_a_sample_prefers_frequent_rows() -> None:
    weight = gaussian((4000, 20))
    weight[7] *= 30
    counts = np.zeros(4000)
    counts[7] = 1e6
    weighted = approximate(VectorQuantized(dimension=2, bits=4), weight, counts)
    assert np.allclose(weighted[7], weight[7], rtol=1e-3, atol=1e-3)


# What is exact


@pytest.mark.parametrize("shape", [(9, 12), (9, 14), (9, 5), (40, 33)])
@pytest.mark.parametrize("parts", [1, 2])
def test_no_more_vectors_than_entries_are_exact(shape: Shape, parts: int) -> None:
    structure = VectorQuantized(dimension=4, bits=3, parts=parts)
    weight = repeating(shape, 4, 4)
    assert structure.misfit(shape) is None
    assert np.array_equal(approximate(structure, weight), weight)


@pytest.mark.parametrize("scale", [1e-40, 1e-15, 1e15, 1e37])
def test_any_scale_will_do(scale: float) -> None:
    few = (repeating((9, 12), 4, 8) * scale).astype(np.float32)
    assert np.array_equal(approximate(VectorQuantized(dimension=4, bits=3), few), few)
    many = gaussian((60, 8)).astype(np.float64)
    scaled = approximate(VectorQuantized(dimension=2, bits=3), (many * scale).astype(np.float32))
    error = np.linalg.norm(scaled.astype(np.float64) / scale - many)
    assert error < 0.6 * np.linalg.norm(many)


def test_separate_clusters_are_found() -> None:
    weight = repeating((80, 24), 4, 16) * 100 + gaussian((80, 24), scale=0.01)
    error = approximate(VectorQuantized(dimension=4, bits=4), weight) - weight
    assert np.abs(error).max() < 0.06


def test_a_codebook_holds_no_more_entries_than_there_are_vectors() -> None:
    factors = VectorQuantized(dimension=4, bits=5).factorize(repeating((20, 12), 4, 6), None)
    assert factors["codebook"].values.shape == (6, 4)


def test_mostly_equal_vectors_leave_no_entry_unused() -> None:
    weight = np.zeros((3000, 8), np.float32)
    weight[::100] = gaussian((30, 8))
    structure = VectorQuantized(dimension=2, bits=4)
    factors = structure.factorize(weight, None)
    assert np.unique(factors["indices"].values).size == 16
    assert relative_error(structure, weight) < 0.1


# Factors


def test_indices_are_in_order_of_use() -> None:
    indices = VectorQuantized(dimension=2, bits=4, parts=2).factorize(gaussian((50, 16)), None)
    for half in np.split(indices["indices"].values.astype(np.int64), 2, axis=1):
        uses = np.bincount(half.ravel())
        assert (np.diff(uses) <= 0).all()


def test_only_the_indices_are_whole_numbers_with_the_rows() -> None:
    factors = VectorQuantized(dimension=4, bits=2).factorize(gaussian((20, 10)), frequencies(20))
    assert list(factors) == ["indices", "padding", "codebook"]
    assert [factor.integers for factor in factors.values()] == [True, True, False]
    assert [factor.row_frequencies is None for factor in factors.values()] == [False, True, True]


def test_a_width_that_the_dimension_divides_needs_no_padding() -> None:
    assert VectorQuantized(dimension=5, bits=2).integer_shapes((20, 10)) == {"indices": (20, 2)}


@pytest.mark.parametrize("cols", [9, 10, 11])
def test_padding_has_no_part_in_means_and_distances(cols: int) -> None:
    # Were the padding taken for zeros, it would draw the entries of the last vectors to zero.
    weight = gaussian((100, cols), scale=0.1) + 5
    difference = approximate(VectorQuantized(dimension=4, bits=2, parts=1), weight) - weight
    assert np.abs(difference).max() < 0.5


def test_a_part_may_be_all_padded() -> None:
    weight = gaussian((50, 9))
    structure = VectorQuantized(dimension=8, bits=3, parts=2)
    last = approximate(structure, weight)[:, 8:]
    scalar = approximate(VectorQuantized(dimension=1, bits=3), weight[:, 8:].copy())
    assert np.linalg.norm(last - weight[:, 8:]) < 1.2 * np.linalg.norm(scalar - weight[:, 8:])


def test_the_state_of_numpy_does_not_matter() -> None:
    structure, weight = VectorQuantized(dimension=2, bits=5), gaussian((60, 20))
    first = approximate(structure, weight)
    np.random.seed(5)  # noqa: NPY002
    assert np.array_equal(approximate(structure, weight), first)


def test_neither_package_nor_fit_needs_scikit_learn() -> None:
    program = (
        "import sys, numpy; from autocompress.structures import VectorQuantized; "
        "VectorQuantized(dimension=2, bits=1).factorize(numpy.eye(4, dtype='f4'), None); "
        "assert not {'sklearn', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# What does not fit


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        ({"dimension": 7, "bits": 1}, (50, 6), "`1 <= dimension <= 6` .*, but got dimension=7"),
        ({"dimension": 4, "bits": 1, "parts": 3}, (50, 6), "`1 <= parts <= 2` .*parts=3"),
        ({"dimension": 2, "bits": 5}, (10, 6), r"`2\^bits <= 30` .*of 30 vectors.*bits=5"),
        ({"dimension": 2, "bits": 4, "parts": 2}, (10, 6), r"`2\^bits <= 10` .*but got bits=4"),
        ({"dimension": 2, "bits": 3}, (1, 8), r"`2\^bits <= 4`"),
    ],
)
def test_misfits_are_named(settings: dict[str, int], shape: Shape, message: str) -> None:
    misfit = VectorQuantized.model_validate(settings).misfit(shape)
    with pytest.raises(ValueError, match=message):
        raise ValueError(misfit)


def test_a_vector_may_be_cut_too() -> None:
    structure = VectorQuantized(dimension=2, bits=2)
    assert structure.misfit((1, 8)) is None
    assert np.array_equal(approximate(structure, gaussian((1, 8))), gaussian((1, 8)))


@pytest.mark.parametrize(
    "settings",
    [
        {"dimension": 0, "bits": 4},
        {"dimension": 4, "bits": 0},
        {"dimension": 4, "bits": 13},
        {"dimension": 4, "bits": 4, "parts": 0},
        {"bits": 4},
    ],
)
def test_settings_have_ranges(settings: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match=r"dimension|bits|parts"):
        VectorQuantized.model_validate(settings)


# Files


def written(structure: VectorQuantized, precision: Precision, path: Path) -> Artifact:
    plan = uncompressed_plan(SOURCE)
    plan.treatments[EMBEDDING] = treat(structure, precision)
    Encoder(SOURCE).write(plan, path / "model.acz")
    return open_artifact(path / "model.acz")


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [(Float32(), 0.0), (Float16(), 2e-3), (EntropyStep(step=0.02), 0.02), (Codebook(bits=8), 0.1)],
    ids=lambda value: value.label() if isinstance(value, Precision) else "",
)
@pytest.mark.parametrize(
    "structure",
    [
        VectorQuantized(dimension=3, bits=4),
        VectorQuantized(dimension=4, bits=3),
        VectorQuantized(dimension=4, bits=4, parts=2),
        VectorQuantized(dimension=1, bits=3, parts=6),
    ],
    ids=lambda structure: structure.label(),
)
def test_files_hold_the_vectors(
    tmp_path: Path, structure: VectorQuantized, precision: Precision, tolerance: float
) -> None:
    decoded = written(structure, precision, tmp_path).state_dict()[EMBEDDING]
    weight = SOURCE.weights.weights[EMBEDDING].matrix
    counts = SOURCE.calibration.row_frequencies[EMBEDDING]
    assert np.abs(decoded - approximate(structure, weight, counts)).max() <= tolerance


def test_the_report_names_the_structure(tmp_path: Path) -> None:
    artifact = written(VectorQuantized(dimension=3, bits=4, parts=2), Float16(), tmp_path)
    (line,) = [line for line in artifact.report() if line.name == EMBEDDING]
    assert line.structure == "vectors of 3, 4 bits each, 2 codebooks"
    assert line.size_bytes < 17 * 6 * 2 + 2 * 16 * 3 * 2


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"'vq 9 bit per 1 \+ fp16' does not fit 'embedding.we"):
        written(VectorQuantized(dimension=1, bits=9), Float16(), tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("indices", -1, "indices from -1 to"),
        ("indices", 8, "indices from 0 to 8 for 8 entries"),
        ("indices", 2**40, "for 8 entries"),
        ("padding", -3, "a padding of -3 instead of 2"),
        ("padding", 7, "a padding of 7 instead of 2"),
    ],
)
def test_hostile_integers_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: int, reason: str
) -> None:
    honest = VectorQuantized.factorize

    def hostile(*arguments: object) -> dict[str, Factor]:
        factors = honest(*arguments)  # type: ignore[arg-type]
        factors[name].values[0, 0] = value
        return factors

    monkeypatch.setattr(VectorQuantized, "factorize", hostile)
    artifact = written(VectorQuantized(dimension=4, bits=3), Float16(), tmp_path)
    with pytest.raises(ArtifactError, match=rf"'embedding\.weight' cannot be decoded: .*{reason}"):
        artifact.state_dict()


def test_an_index_beyond_the_codebook_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = VectorQuantized.factorize

    def hostile(*arguments: object) -> dict[str, Factor]:
        factors = honest(*arguments)  # type: ignore[arg-type]
        return {**factors, "codebook": Factor(factors["codebook"].values[:-1])}

    monkeypatch.setattr(VectorQuantized, "factorize", hostile)
    artifact = written(VectorQuantized(dimension=4, bits=3), Float16(), tmp_path)
    with pytest.raises(ArtifactError, match=r"'embedding\.weight' cannot be decoded"):
        artifact.state_dict()
