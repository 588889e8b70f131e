"""Blocks of rows by frequency, each with the best low rank of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from strategies import each_precision, frequencies, gaussian, treat
from torch import nn

from autocompress import Task, compress, open_artifact
from autocompress.coders import encode_smallest
from autocompress.encoding.encoder import Encoder
from autocompress.errors import ArtifactError, PlanError
from autocompress.knowledge.source import Source
from autocompress.outcome.objectives import Split
from autocompress.plan import CompressionPlan
from autocompress.precisions import EntropyStep, Float16, Float32, Precision
from autocompress.structures import (
    Curvature,
    Factor,
    GroupReduce,
    LowRank,
    Matrix,
    Shape,
    Structure,
    row_groups,
)

Counts = NDArray[np.float64]
SHAPES: tuple[Shape, ...] = ((7, 5), (64, 64), (130, 33), (30, 101), (501, 17), (200, 2))
STRUCTURES = (
    GroupReduce(blocks=1, rank=2),
    GroupReduce(blocks=2, rank=2, exponent=0),
    GroupReduce(blocks=3, rank=5, exponent=1),
    GroupReduce(blocks=5, rank=4, rounds=9),
    GroupReduce(blocks=7, rank=5, rounds=30, exponent=0.2),
    GroupReduce(blocks=4, rank=16, floor=3),
)
each_fitting = pytest.mark.parametrize(
    ("structure", "shape"),
    [
        pytest.param(structure, shape, id=f"{structure.label()}-{shape[0]}x{shape[1]}")
        for structure in STRUCTURES
        for shape in SHAPES
        if structure.misfit(shape) is None
    ],
)


def values(factors: Mapping[str, Factor]) -> dict[str, Matrix]:
    return {name: factor.values for name, factor in factors.items()}


def approximate(structure: Structure, weight: Matrix, counts: Counts | None) -> Matrix:
    return structure.reconstruct(values(structure.factorize(weight, counts)))


def weighted_error(weight: Matrix, approximation: Matrix, counts: Counts | None) -> float:
    """Return the share of the weighted squared norm that is lost."""
    weights = np.ones(len(weight)) if counts is None else counts + 1
    difference = np.square(weight.astype(np.float64) - approximation).sum(axis=1)
    return float(weights @ difference / (weights @ np.square(weight, dtype=float).sum(axis=1)))


def parameters(factors: Mapping[str, Factor]) -> int:
    return sum(factor.values.size for factor in factors.values() if not factor.integers)


def zipf(rows: int) -> Counts:
    counts: Counts = np.floor(100 * rows / np.arange(1, rows + 1))
    return counts


def embedding(shape: Shape = (2000, 96), seed: int = 0) -> Matrix:
    """Return rows near a decaying space that all share and one of their frequency band."""
    generator = np.random.default_rng(seed)
    rows, cols = shape
    shared = generator.standard_normal((24, cols)) / np.sqrt(np.arange(1, 25))[:, None]
    weight = generator.standard_normal((rows, 24)) @ shared
    for band in np.array_split(np.arange(rows), 5):
        weight[band] += generator.standard_normal((band.size, 8)) @ gaussian((8, cols), band[0])
    weight += 0.3 * generator.standard_normal(shape)
    return weight.astype(np.float32)


def two_groups(shape: Shape = (600, 40), rank: int = 4) -> tuple[Matrix, NDArray[np.bool_]]:
    """Return rows of two subspaces, shuffled, and which subspace each is of."""
    second = np.random.default_rng(5).random(shape[0]) < 0.5
    coefficients = gaussian((shape[0], rank), 1)
    first_rows = coefficients @ gaussian((rank, shape[1]), 2)
    second_rows = coefficients @ gaussian((rank, shape[1]), 3)
    return np.where(second[:, None], second_rows, first_rows), second


# What every structure promises, with more than one block.


@each_fitting
def test_factors_have_the_shapes_that_were_announced(structure: GroupReduce, shape: Shape) -> None:
    factors = structure.factorize(gaussian(shape), frequencies(shape[0]))
    integers = {name: factor.values for name, factor in factors.items() if factor.integers}
    announced = structure.integer_shapes(shape) | structure.factor_shapes(shape, integers)
    found = {name: factor.values.shape for name, factor in factors.items()}
    assert list(found.items()) == list(announced.items())
    assert {factor.values.dtype for factor in factors.values()} == {np.dtype(np.float32)}


@each_fitting
def test_equal_weights_give_equal_factors(structure: GroupReduce, shape: Shape) -> None:
    first, second = (structure.factorize(gaussian(shape), frequencies(shape[0])) for _ in range(2))
    assert list(first) == list(second)
    assert all(np.array_equal(first[name].values, second[name].values) for name in first)


@each_fitting
def test_the_weight_is_not_modified(structure: GroupReduce, shape: Shape) -> None:
    weight, counts = gaussian(shape), frequencies(shape[0])
    structure.factorize(weight, counts)
    assert np.array_equal(weight, gaussian(shape))
    assert np.array_equal(counts, frequencies(shape[0]))


@each_fitting
def test_left_factors_have_the_frequencies_of_their_rows(
    structure: GroupReduce, shape: Shape
) -> None:
    counts = np.random.default_rng(2).permutation(zipf(shape[0]))
    factors = structure.factorize(gaussian(shape), counts)
    assignment = structure.assignment(values(factors))
    for block in np.unique(assignment).tolist():
        found = factors[f"left{block}"].row_frequencies
        assert found is not None
        assert np.array_equal(found, counts[assignment == block])
        assert factors[f"right{block}"].row_frequencies is None


@each_fitting
def test_a_zero_weight_stays_zero(structure: GroupReduce, shape: Shape) -> None:
    factors = structure.factorize(np.zeros(shape, np.float32), frequencies(shape[0]))
    assert all(np.isfinite(factor.values).all() for factor in factors.values())
    assert not structure.reconstruct(values(factors)).any()


@pytest.mark.parametrize("scale", [1e-15, 1e15])
@pytest.mark.parametrize("counts", [None, frequencies(130)], ids=["equal", "zipf"])
def test_the_scale_does_not_matter(scale: float, counts: Counts | None) -> None:
    structure = GroupReduce(blocks=3, rank=5, rounds=5)
    weight = embedding((130, 33))
    scaled = (weight * np.float32(scale)).astype(np.float32)
    errors = [
        weighted_error(matrix, approximate(structure, matrix, counts), counts)
        for matrix in (weight, scaled)
    ]
    assert errors[1] == pytest.approx(errors[0], rel=1e-3)


# Each block is fitted as well as can be.


@pytest.mark.parametrize("shape", [(60, 9), (9, 60), (24, 24), (130, 33)])
@pytest.mark.parametrize("counts", [False, True], ids=["none", "equal"])
def test_one_block_of_equal_frequencies_is_low_rank(shape: Shape, counts: bool) -> None:
    weight = gaussian(shape)
    used = np.full(shape[0], 17.0) if counts else None
    factors = GroupReduce(blocks=1, rank=4).factorize(weight, used)
    expected = LowRank(rank=4).factorize(weight, used)
    product = factors["left0"].values @ factors["right0"].values
    assert np.allclose(
        product, expected["left"].values @ expected["right"].values, rtol=0, atol=1e-5
    )
    # Balanced in the same way, too: signs aside, these are the same factors.
    for name, reference in (("left0", "left"), ("right0", "right")):
        assert np.allclose(
            np.abs(factors[name].values), np.abs(expected[reference].values), atol=1e-4
        )


@pytest.mark.parametrize("shape", [(60, 9), (9, 60), (130, 33), (30, 101)])
@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("rounds", [0, 8])
def test_every_block_is_the_weighted_svd_of_its_rows(
    shape: Shape, blocks: int, rounds: int
) -> None:
    weight, counts = gaussian(shape), frequencies(shape[0])
    structure = GroupReduce(blocks=blocks, rank=4, rounds=rounds)
    factors = values(structure.factorize(weight, counts))
    assignment = structure.assignment(factors)
    for block, rank in enumerate(factors["ranks"].ravel().astype(int)):
        rows = assignment == block
        roots = np.sqrt(counts[rows] + 1)[:, None]
        tail = np.linalg.svd(roots * weight[rows].astype(np.float64), compute_uv=False)[rank:]
        product = factors[f"left{block}"] @ factors[f"right{block}"]
        error = np.linalg.norm(roots * (weight[rows] - product))
        norm = float(np.linalg.norm(roots * weight[rows]))
        assert error == pytest.approx(np.linalg.norm(tail), rel=1e-4, abs=1e-6 * norm)


def test_alternating_least_squares_finds_nothing_better() -> None:
    weight, counts = gaussian((80, 12)), frequencies(80)
    ours = weighted_error(
        weight, approximate(GroupReduce(blocks=1, rank=3), weight, counts), counts
    )
    roots = np.sqrt(counts + 1)[:, None]
    right = gaussian((3, 12), 9).astype(np.float64)
    for _ in range(500):
        left = np.linalg.lstsq(right.T, weight.T.astype(np.float64), rcond=None)[0].T
        right = np.linalg.lstsq(roots * left, roots * weight, rcond=None)[0]
    theirs = weighted_error(weight, (left @ right).astype(np.float32), counts)
    assert ours == pytest.approx(theirs, rel=1e-3)


def test_weighting_lowers_the_weighted_error() -> None:
    weight, counts = gaussian((300, 30)), zipf(300)
    errors = [
        weighted_error(weight, approximate(structure, weight, counts), counts)
        for structure in (GroupReduce(blocks=1, rank=6), LowRank(rank=6))
    ]
    assert errors[0] < 0.8 * errors[1]


@pytest.mark.parametrize("shape", [(60, 24), (24, 24), (30, 101)])
def test_the_largest_rank_of_one_block_is_exact(shape: Shape) -> None:
    weight, counts = gaussian(shape), frequencies(shape[0])
    structure = GroupReduce(blocks=1, rank=min(shape))
    assert np.allclose(approximate(structure, weight, counts), weight, atol=1e-5)


def test_frequent_rows_have_less_error_than_rare_ones() -> None:
    weight, counts = gaussian((1000, 40)), zipf(1000)
    approximation = approximate(GroupReduce(blocks=5, rank=8), weight, counts)
    errors = [
        weighted_error(weight[part], approximation[part], None)
        for part in (slice(0, 20), slice(20, 200), slice(800, 1000))
    ]
    assert errors == sorted(errors)
    assert errors[0] < 0.3 * errors[2]


# Ranks and the budget.


@each_fitting
@pytest.mark.parametrize("counted", [False, True], ids=["equal", "zipf"])
def test_parameters_stay_within_those_of_low_rank(
    structure: GroupReduce, shape: Shape, counted: bool
) -> None:
    counts = zipf(shape[0]) if counted else None
    factors = structure.factorize(gaussian(shape), counts)
    assert 0 < parameters(factors) <= structure.rank * sum(shape)


@pytest.mark.parametrize("rank", [2, 5, 9, 16, 32])
@pytest.mark.parametrize("exponent", [0, 0.5, 1])
def test_one_more_step_of_the_scale_would_not_fit(rank: int, exponent: float) -> None:
    shape = (997, 33)
    structure = GroupReduce(blocks=4, rank=rank, exponent=exponent, rounds=0)
    factors = structure.factorize(gaussian(shape), zipf(shape[0]))
    ranks = factors["ranks"].values.ravel()
    assert list(ranks) == sorted(ranks, reverse=True)
    assert ranks.min() >= 1
    # Fewer parameters than one more rank of every block would take.
    assert parameters(factors) > (rank - 1) * sum(shape) - 4 * shape[1]


def test_ranks_follow_the_mean_frequencies() -> None:
    counts = np.repeat([63.0, 15.0, 3.0, 0.0], 100)
    for exponent, expected in ((1.0, [64, 16, 4, 1]), (0.5, [32, 16, 8, 4])):
        budget = (sum(expected) * 100 + 80 * sum(expected)) / 480
        structure = GroupReduce(blocks=4, rank=int(budget) + 1, exponent=exponent, rounds=0)
        ranks = structure.factorize(gaussian((400, 80)), counts)["ranks"].values.ravel()
        assert ranks == pytest.approx(expected, rel=0.1, abs=1)


def test_ranks_are_capped_by_the_width() -> None:
    factors = GroupReduce(blocks=5, rank=9, exponent=1).factorize(gaussian((1000, 20)), zipf(1000))
    assert factors["ranks"].values.max() == 20


def test_the_floor_holds_for_every_block() -> None:
    structure = GroupReduce(blocks=5, rank=9, exponent=1, floor=4)
    ranks = structure.factorize(gaussian((1000, 40)), zipf(1000))["ranks"].values
    assert ranks.min() == 4


@pytest.mark.parametrize(
    ("structure", "shape", "rule"),
    [
        (GroupReduce(blocks=8, rank=2), (7, 5), r"`1 <= blocks <= 7` .* but got blocks=8"),
        (GroupReduce(blocks=1, rank=6), (7, 5), r"`1 <= rank <= 5` .* but got rank=6"),
        (GroupReduce(blocks=1, rank=1), (1, 8), r"needs a matrix, but the shape is \(1, 8\)"),
        (
            GroupReduce(blocks=5, rank=1),
            (64, 32),
            r"`floor \* .* must hold, but floor=1, blocks=5 and rank=1 give 224 > 96 for",
        ),
        (GroupReduce(blocks=1, rank=2, floor=3), (64, 32), "floor=3, blocks=1 and rank=2 give"),
    ],
)
def test_what_does_not_fit_is_named(structure: GroupReduce, shape: Shape, rule: str) -> None:
    misfit = structure.misfit(shape)
    assert misfit is not None
    assert re.search(rule, misfit), misfit


@pytest.mark.parametrize(
    "wrong",
    [{"rank": 0}, {"blocks": 0}, {"exponent": 1.5}, {"floor": 0}, {"rounds": -1}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_hyper_parameters_have_ranges(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        GroupReduce.model_validate({"rank": 4, **wrong})


# Blocks and refinement.


def test_blocks_follow_frequencies_whatever_the_order_of_rows() -> None:
    counts = np.random.default_rng(3).permutation(zipf(50))
    structure = GroupReduce(blocks=5, rank=3, rounds=0)
    factors = values(structure.factorize(gaussian((50, 20)), counts))
    assignment = structure.assignment(factors)
    assert np.bincount(assignment).tolist() == [10] * 5
    assert np.array_equal(assignment[np.argsort(-counts)], np.arange(50) // 10)


@each_fitting
@pytest.mark.parametrize("counted", [False, True], ids=["equal", "zipf"])
def test_refinement_never_raises_the_weighted_error(
    structure: GroupReduce, shape: Shape, counted: bool
) -> None:
    weight, counts = embedding(shape), zipf(shape[0]) if counted else None
    errors = [
        weighted_error(
            weight, approximate(structure.model_copy(update={"rounds": n}), weight, counts), counts
        )
        for n in (0, 1, 2, 5, 20)
    ]
    # The criterion is computed in float64, the factors are rounded to float32.
    assert all(later <= earlier * (1 + 1e-5) + 1e-12 for earlier, later in pairwise(errors))


@pytest.mark.parametrize("counted", [False, True], ids=["equal", "shuffled"])
def test_refinement_finds_hidden_groups(counted: bool) -> None:
    weight, second = two_groups()
    counts = np.random.default_rng(7).permutation(zipf(600)) if counted else None
    errors = {}
    for rounds in (0, 100):
        structure = GroupReduce(blocks=2, rank=5, exponent=0, rounds=rounds)
        factors = values(structure.factorize(weight, counts))
        errors[rounds] = weighted_error(weight, structure.reconstruct(factors), counts)
        agreement = float((structure.assignment(factors).astype(bool) == second).mean())
    assert errors[0] > 0.1
    assert errors[100] < 0.02 * errors[0]
    assert max(agreement, 1 - agreement) > 0.95


def test_a_round_that_raises_the_error_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, counts = embedding((300, 24)), zipf(300)
    unrefined = GroupReduce(blocks=3, rank=5, rounds=0).factorize(weight, counts)
    shuffled = np.random.default_rng(0).integers(3, size=300)
    monkeypatch.setattr(row_groups, "_reassigned", lambda *_: shuffled)
    refined = GroupReduce(blocks=3, rank=5, rounds=3).factorize(weight, counts)
    assert all(np.array_equal(refined[name].values, unrefined[name].values) for name in unrefined)


@pytest.mark.parametrize(("candidates", "expected"), [(4, []), (5, [4]), (11, [9, 10])])
def test_the_tenth_that_gains_most_moves(candidates: int, expected: list[int]) -> None:
    costs = np.stack([1.0 + np.arange(20), np.arange(20)[::-1] * 100.0], axis=1)
    costs[:candidates, 1] = 0
    costs[candidates:, 1] = 1000
    moved = row_groups._moved(costs, np.zeros(20), np.zeros(20, dtype=np.int64))
    assert np.flatnonzero(moved).tolist() == expected


def test_signs_are_fixed() -> None:
    factors = GroupReduce(blocks=3, rank=5).factorize(gaussian((130, 33)), zipf(130))
    for block in range(3):
        assert (factors[f"right{block}"].values.sum(axis=1) >= 0).all()


def test_few_candidates_end_the_refinement() -> None:
    # Both blocks have the rank of the matrix: nothing is left to gain.
    weight = gaussian((100, 3), 1) @ gaussian((3, 20), 2)
    structure = GroupReduce(blocks=2, rank=8, exponent=0, rounds=50)
    factors = values(structure.factorize(weight, zipf(100)))
    assert np.array_equal(structure.assignment(factors), np.arange(100) // 50)


def test_a_block_may_lose_all_of_its_rows() -> None:
    integers = {
        "assignment": np.array([[0, 2, 0, 1, 2]], np.float32),
        "ranks": np.array([[1, 0, 2]], np.float32),
    }
    structure = GroupReduce(blocks=3, rank=1)
    # The blocks of the rows are 0, 2, 2, 0, 2.
    shapes = structure.factor_shapes((5, 4), integers)
    assert shapes == {"left0": (2, 1), "right0": (1, 4), "left2": (3, 2), "right2": (2, 4)}
    factors = {name: gaussian(shape, len(name)) for name, shape in shapes.items()}
    weight = structure.reconstruct(integers | factors)
    assert np.allclose(weight[[0, 3]], factors["left0"] @ factors["right0"])
    assert np.allclose(weight[[1, 2, 4]], factors["left2"] @ factors["right2"])


def test_rows_beyond_one_chunk_are_all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, counts = embedding((333, 20)), zipf(333)
    structure = GroupReduce(blocks=3, rank=5, rounds=4)
    expected = approximate(structure, weight, counts)
    monkeypatch.setattr("autocompress.structures.row_groups._CHUNK_ROWS", 10)
    assert np.allclose(approximate(structure, weight, counts), expected, atol=1e-4)


# Bytes.


class Embedding(nn.Module):
    """One embedding."""

    def __init__(self, weight: Matrix) -> None:
        super().__init__()
        self.embedding = nn.Embedding(weight.shape[0], weight.shape[1])
        self.embedding.weight.data = torch.as_tensor(weight)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = self.embedding(tokens)
        return vectors


class Counted(Task):
    """Knows the frequencies of an embedding's rows."""

    metric = "loss"

    def __init__(self, counts: Counts) -> None:
        self.counts = counts

    def evaluate(self, model: nn.Module, split: Split) -> float:
        raise NotImplementedError

    def calibration_batches(self) -> Any:
        return iter([torch.arange(3)])

    def row_frequencies(self, model: nn.Module) -> Mapping[str, Counts]:
        return {"embedding.weight": self.counts}


def embedding_source(weight: Matrix, counts: Counts) -> Source:
    return Source.of(Embedding(weight), Counted(counts))


def stored(source: Source, structure: Structure) -> int:
    return len(Encoder(source).encode("embedding.weight", treat(structure, Float16()))[1])


def decoded(structure: Structure, precision: Precision, weight: Matrix, counts: Counts) -> Matrix:
    """Represent a weight without any file; whole numbers stay as they are."""
    factors = {}
    for name, factor in structure.factorize(weight, counts).items():
        rows, cols = factor.values.shape
        streams = {} if factor.integers else precision.encode(factor)
        factors[name] = (
            factor.values if factor.integers else precision.decode(streams, (rows, cols), None)
        )
    return structure.reconstruct(factors)


@each_precision
def test_it_survives_the_file(tmp_path: Path, precision: Precision) -> None:
    weight, counts = embedding((300, 24)), np.random.default_rng(1).permutation(zipf(300))
    structure = GroupReduce(blocks=4, rank=6, rounds=5)
    plan = CompressionPlan(treatments={"embedding.weight": treat(structure, precision)})
    compress(Embedding(weight), plan, Counted(counts), tmp_path / "model.acz")
    artifact = open_artifact(tmp_path / "model.acz")
    assert artifact.plan == plan
    state = artifact.state_dict()["embedding.weight"]
    assert np.array_equal(state, decoded(structure, precision, weight, counts))


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [(Float16(), 1e-5), (EntropyStep(step=0.02, frequency_exponent=0.25), 2e-3)],
    ids=["fp16", "entropy"],
)
def test_fine_precisions_cost_little(precision: Precision, tolerance: float) -> None:
    weight, counts = embedding((500, 40)), zipf(500)
    structure = GroupReduce(blocks=4, rank=10)
    exact, coarse = (
        weighted_error(weight, approximation, counts)
        for approximation in (
            approximate(structure, weight, counts),
            decoded(structure, precision, weight, counts),
        )
    )
    assert coarse == pytest.approx(exact, abs=tolerance)


def assignment_bytes(structure: GroupReduce, weight: Matrix, counts: Counts) -> int:
    assignment = structure.factorize(weight, counts)["assignment"].values
    return len(encode_smallest(assignment.astype(np.int64))[1])


def test_ordered_vocabularies_need_next_to_no_bytes_for_blocks() -> None:
    size = assignment_bytes(GroupReduce(rank=2, rounds=0), gaussian((10_000, 12)), zipf(10_000))
    assert size <= 40


def test_blocks_never_cost_more_than_their_logarithm() -> None:
    counts = np.random.default_rng(0).permutation(zipf(10_000))
    size = assignment_bytes(GroupReduce(rank=2, rounds=0), gaussian((10_000, 12)), counts)
    assert size <= 10_000 * np.log2(5) / 8 * 1.01 + 40


def test_refined_blocks_cost_less_than_a_bit_a_row() -> None:
    size = assignment_bytes(GroupReduce(rank=4), embedding((5000, 32)), zipf(5000))
    assert size < 5000 / 8


@pytest.mark.parametrize("shuffled", [False, True], ids=["ordered", "shuffled"])
def test_at_a_twentieth_it_beats_the_svd_of_the_same_bytes(shuffled: bool) -> None:
    weight, counts = embedding(), zipf(2000)
    if shuffled:
        order = np.random.default_rng(4).permutation(2000)
        weight, counts = weight[order], counts[order]
    source = embedding_source(weight, counts)
    rank = weight.size // (10 * sum(weight.shape))
    groups, plain = GroupReduce(rank=rank - 1), LowRank(rank=rank)
    assert stored(source, groups) <= stored(source, plain)
    assert stored(source, plain) <= weight.nbytes / 20
    errors = [
        weighted_error(weight, decoded(structure, Float16(), weight, counts), counts)
        for structure in (groups, plain)
    ]
    assert errors[0] < 0.7 * errors[1]


# Hostile files.


def integers_of(structure: GroupReduce, shape: Shape) -> dict[str, Matrix]:
    factors = structure.factorize(gaussian(shape), zipf(shape[0]))
    return {name: factor.values for name, factor in factors.items() if factor.integers}


HOSTILE = [
    pytest.param("assignment", (0, 3), 3.0, "`0 <= assignment < 3`", id="block too large"),
    pytest.param("assignment", (0, 3), -1.0, "`0 <= assignment < 3`", id="block negative"),
    pytest.param("assignment", (0, 3), 2.0**62, "`0 <= assignment < 3`", id="block huge"),
    pytest.param("ranks", (0, 1), 11.0, "block 1 of 10 rows and 20 col.* rank 11", id="size"),
    pytest.param("ranks", (0, 2), 0.0, "block 2 of 10 rows .* rank 0", id="rank zero"),
    pytest.param("ranks", (0, 0), -2.0, "block 0 of 10 rows .* rank -2", id="rank negative"),
    pytest.param("ranks", (0, 0), 2.0**62, "block 0 of 10 rows .* rank 46", id="rank huge"),
]


@pytest.mark.parametrize(("name", "where", "value", "message"), HOSTILE)
def test_impossible_integers_are_refused(
    name: str, where: tuple[int, int], value: float, message: str
) -> None:
    structure = GroupReduce(blocks=3, rank=3, rounds=0)
    integers = integers_of(structure, (30, 20))
    integers[name][where] = value
    with pytest.raises(ValueError, match=message):
        structure.factor_shapes((30, 20), integers)


@pytest.mark.parametrize("name", ["assignment", "ranks"])
def test_integers_of_the_wrong_number_are_refused(name: str) -> None:
    structure = GroupReduce(blocks=3, rank=3, rounds=0)
    integers = integers_of(structure, (30, 20))
    integers[name] = integers[name][:, :-1]
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        structure.factor_shapes((30, 20), integers)


def test_ranks_above_the_width_are_refused() -> None:
    structure = GroupReduce(blocks=1, rank=3)
    integers = integers_of(structure, (30, 5))
    integers["ranks"][0, 0] = 6
    with pytest.raises(ValueError, match="5 columns cannot have rank 6"):
        structure.factor_shapes((30, 5), integers)


def test_blocks_without_rows_have_no_rank() -> None:
    integers = {"assignment": np.zeros((1, 5), np.float32), "ranks": np.ones((1, 2), np.float32)}
    with pytest.raises(ValueError, match="block 1 of 0 rows and 4 columns cannot have rank 1"):
        GroupReduce(blocks=2, rank=1).factor_shapes((5, 4), integers)


@pytest.mark.parametrize(("name", "where", "value", "message"), HOSTILE)
def test_a_file_of_impossible_integers_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    where: tuple[int, int],
    value: float,
    message: str,
) -> None:
    factorize = GroupReduce.factorize

    def corrupted(
        self: GroupReduce, weight: Matrix, counts: Counts, curvature: Curvature | None
    ) -> dict[str, Factor]:
        factors = factorize(self, weight, counts, curvature)
        factors[name].values[where] = value
        return factors

    monkeypatch.setattr(GroupReduce, "factorize", corrupted)
    treatment = treat(GroupReduce(blocks=3, rank=3, rounds=0), Float32())
    plan = CompressionPlan(treatments={"embedding.weight": treatment})
    compress(Embedding(gaussian((30, 20))), plan, Counted(zipf(30)), tmp_path / "model.acz")
    with pytest.raises(ArtifactError, match=f"cannot be decoded: .*{message}"):
        open_artifact(tmp_path / "model.acz").state_dict()


def test_more_blocks_than_rows_name_the_weight(tmp_path: Path) -> None:
    treatment = treat(GroupReduce(blocks=40, rank=3), Float32())
    plan = CompressionPlan(treatments={"embedding.weight": treatment})
    with pytest.raises(PlanError, match=r"'embedding.weight': `1 <= blocks <= 30` must hold"):
        compress(Embedding(gaussian((30, 20))), plan, Counted(zipf(30)), tmp_path / "m.acz")
