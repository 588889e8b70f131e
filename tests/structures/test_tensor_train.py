"""A tensor train is as good as TT-SVD promises, and exact where the weight is a train."""

import math
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from strategies import TinyTask, frequencies, gaussian, tiny_model, tiny_source, treat

from autocompress import compress
from autocompress.artifact import open_artifact
from autocompress.encoding.encoder import uncompressed_plan
from autocompress.errors import PlanError
from autocompress.plan import CompressionPlan
from autocompress.precisions import EntropyStep, Float16, Float32, Precision
from autocompress.structures import Matrix, Shape, TensorTrain
from autocompress.structures.modes import mode_sizes, paired_modes

CASES = [
    pytest.param(shape, modes, id=f"{shape[0]}x{shape[1]}-{modes}")
    for shape, modes in product([(64, 64), (120, 50), (50, 120), (131, 31), (1009, 31)], (2, 3, 4))
]
each_case = pytest.mark.parametrize(("shape", "modes"), CASES)
each_modes = pytest.mark.parametrize("modes", [2, 3, 4])


def cores_of(weight: Matrix, rank: int, modes: int) -> dict[str, Matrix]:
    factors = TensorTrain(rank=rank, modes=modes).factorize(weight, None)
    return {name: factor.values for name, factor in factors.items()}


def approximate(weight: Matrix, rank: int, modes: int) -> Matrix:
    return TensorTrain(rank=rank, modes=modes).reconstruct(cores_of(weight, rank, modes))


def squared_error(weight: Matrix, rank: int, modes: int) -> float:
    error = approximate(weight, rank, modes).astype(np.float64) - weight
    return float(np.square(error).sum())


def train(rank: int, shape: Shape, modes: int) -> Matrix:
    """Return a weight that is a train of random cores."""
    structure = TensorTrain(rank=rank, modes=modes)
    stored = np.array([shape], dtype=np.float32)
    shapes = structure.factor_shapes(shape, {"shape": stored})
    cores = {name: gaussian(core, seed) for seed, (name, core) in enumerate(shapes.items())}
    return structure.reconstruct({"shape": stored, **cores})


def unfoldings(weight: Matrix, modes: int) -> list[NDArray[np.float64]]:
    """Return the d-1 unfoldings of the padded weight, element by element as they are defined."""
    rows, cols = paired_modes((weight.shape[0], weight.shape[1]), modes)
    padded = np.zeros((math.prod(rows), math.prod(cols)))
    padded[: weight.shape[0], : weight.shape[1]] = weight
    sizes = [n * m for n, m in zip(rows, cols, strict=True)]
    tensor = np.empty(sizes)
    i, j = np.indices(padded.shape)
    digits = zip(np.unravel_index(i, rows), np.unravel_index(j, cols), cols, strict=True)
    tensor[tuple(row * m + col for row, col, m in digits)] = padded
    return [tensor.reshape(math.prod(sizes[:k]), -1) for k in range(1, modes)]


def tails(weight: Matrix, rank: int, modes: int) -> list[float]:
    """Return the squared norm of the singular values that a rank leaves out of each unfolding."""
    values = [np.linalg.svd(matrix, compute_uv=False) for matrix in unfoldings(weight, modes)]
    return [float(np.square(each[rank:]).sum()) for each in values]


@each_modes
@pytest.mark.parametrize("rank", [1, 3, 6])
@pytest.mark.parametrize("shape", [(64, 64), (120, 60), (36, 200)])
def test_a_train_of_that_rank_is_exact(shape: Shape, modes: int, rank: int) -> None:
    weight = train(rank, shape, modes)
    norm = float(np.linalg.norm(weight.astype(np.float64)))
    assert math.sqrt(squared_error(weight, rank, modes)) < 1e-5 * norm


@each_case
def test_a_constant_is_exact_in_spite_of_the_zeros_around_it(shape: Shape, modes: int) -> None:
    weight = np.full(shape, 3, dtype=np.float32)
    assert np.allclose(approximate(weight, 4, modes), weight, rtol=1e-5)


@each_case
@pytest.mark.parametrize("rank", [1, 2, 8, 20])
def test_the_error_is_within_the_tails_of_the_unfoldings(
    shape: Shape, modes: int, rank: int
) -> None:
    weight = gaussian(shape)
    error, bounds = squared_error(weight, rank, modes), tails(weight, rank, modes)
    # The zeros around the weight are approximated too, with an error that is cut off.
    cut = math.prod(math.prod(sizes) for sizes in paired_modes(shape, modes)) > math.prod(shape)
    rounding = 1e-10 * float(np.square(weight).sum())
    assert error <= (1 + 1e-5) * sum(bounds) + rounding
    assert cut or error >= (1 - 1e-5) * max(bounds) - rounding


@each_modes
@pytest.mark.parametrize("noise", [1e-3, 0.3])
def test_the_error_is_within_d_minus_1_of_that_of_any_train(modes: int, noise: float) -> None:
    clean = train(4, (120, 60), modes)
    weight = clean + gaussian(clean.shape, 9, noise)
    of_clean = float(np.square(weight.astype(np.float64) - clean).sum())
    assert squared_error(weight, 4, modes) <= (modes - 1) * of_clean


def test_two_cores_are_the_best_of_their_rank() -> None:
    weight = gaussian((64, 64))
    assert squared_error(weight, 5, 2) == pytest.approx(tails(weight, 5, 2)[0], rel=1e-5)


@each_case
def test_a_higher_rank_is_never_worse(shape: Shape, modes: int) -> None:
    weight = gaussian(shape)
    errors = [squared_error(weight, rank, modes) for rank in range(1, 25)]
    rounding = 1e-10 * float(np.square(weight).sum())
    assert all(later <= earlier + rounding for earlier, later in pairwise(errors))


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_the_scale_of_a_weight_does_not_matter(scale: float) -> None:
    relative = [squared_error(gaussian((40, 30), scale=s), 6, 3) / s**2 for s in (1.0, scale)]
    assert relative[1] == pytest.approx(relative[0], rel=1e-4)


@each_case
def test_all_cores_have_one_norm(shape: Shape, modes: int) -> None:
    _, *cores = cores_of(gaussian(shape), 6, modes).values()
    norms = [np.linalg.norm(core) for core in cores]
    assert norms == pytest.approx([norms[0]] * modes, rel=1e-5)


@each_case
def test_equal_weights_give_equal_bytes(shape: Shape, modes: int) -> None:
    first, second = (cores_of(gaussian(shape), 6, modes) for _ in range(2))
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)


@each_modes
def test_cores_have_the_shape_of_the_format(modes: int) -> None:
    rows, cols = paired_modes((1009, 31), modes)
    cores = [
        core for name, core in cores_of(gaussian((1009, 31)), 7, modes).items() if name != "shape"
    ]
    bond = 1
    for core, n, m in zip(cores, rows, cols, strict=True):
        assert core.shape[0] == bond * n * m
        bond = core.shape[1]
    assert bond == 1


def test_ranks_are_clipped_to_what_a_bond_can_have() -> None:
    _, *shapes = [core.shape for core in cores_of(gaussian((64, 64)), 30, 4).values()]
    rows, cols = paired_modes((64, 64), 4)
    end = rows[0] * cols[0]
    assert end < 30
    assert shapes[0] == (end, end)
    assert [shape[1] for shape in shapes[1:]] == [30, min(30, rows[3] * cols[3]), 1]


def test_an_element_is_a_product_of_matrices() -> None:
    shape = (131, 33)
    (n1, n2, n3), (m1, m2, m3) = paired_modes(shape, 3)
    cores = cores_of(gaussian(shape), 5, 3)
    first = cores["core1"].reshape(n1, m1, -1)
    middle = cores["core2"].reshape(first.shape[2], n2, m2, -1)
    last = cores["core3"].reshape(middle.shape[3], n3, m3)
    weight = TensorTrain(rank=5).reconstruct(cores)
    for i, j in [(0, 0), (130, 32), (57, 20), (100, 3)]:
        i1, i2, i3 = np.unravel_index(i, (n1, n2, n3))
        j1, j2, j3 = np.unravel_index(j, (m1, m2, m3))
        element = first[i1, j1] @ middle[:, i2, j2] @ last[:, i3, j3]
        assert weight[i, j] == pytest.approx(element, rel=1e-4, abs=1e-5)


def test_no_core_keeps_frequencies() -> None:
    factors = TensorTrain(rank=4).factorize(gaussian((64, 64)), frequencies(64))
    assert all(factor.row_frequencies is None for factor in factors.values())


def test_a_stored_shape_that_is_another_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(64, 63\) is not of shape \(64, 64\)"):
        TensorTrain(rank=4).factor_shapes((64, 64), {"shape": np.array([[64, 63]], np.float32)})


SIZES = [*range(1, 2500), 10_000, 10_007, 33_278, 65_537, 99_991]


@each_modes
def test_modes_are_ascending_and_reach_the_size(modes: int) -> None:
    for size in SIZES:
        sizes = mode_sizes(size, modes)
        assert list(sizes) == sorted(sizes)
        assert len(sizes) == modes
        assert math.prod(sizes) >= size


@each_modes
def test_modes_are_balanced(modes: int) -> None:
    assert all(mode_sizes(size, modes)[-1] <= 3 * mode_sizes(size, modes)[0] for size in SIZES)


@each_modes
def test_padding_is_little(modes: int) -> None:
    padding = {size: math.prod(mode_sizes(size, modes)) / size - 1 for size in SIZES}
    assert max(share for size, share in padding.items() if size >= 1000) < 0.03
    assert max(padding.values()) < 0.3


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (10_000, (20, 20, 25)),
        (200, (5, 5, 8)),
        (800, (8, 10, 10)),
        (650, (5, 10, 13)),
        (10_007, (13, 22, 35)),
        (31, (2, 4, 4)),
        (1, (1, 1, 1)),
    ],
)
def test_modes_of_three_cores(size: int, expected: tuple[int, ...]) -> None:
    assert mode_sizes(size, 3) == expected


def test_large_row_modes_meet_small_column_modes() -> None:
    assert paired_modes((10_000, 650), 3) == ((20, 20, 25), (13, 10, 5))
    assert paired_modes((1500, 650), 4) == ((5, 5, 6, 10), (7, 6, 4, 4))


@pytest.mark.parametrize(("modes", "largest"), [(2, 64), (3, 16), (4, 64)])
def test_a_rank_above_every_bond_is_named(modes: int, largest: int) -> None:
    misfit = TensorTrain(rank=largest + 1, modes=modes).misfit((64, 64))
    rule = f"`1 <= rank <= {largest}` must hold for {modes} cores and shape (64, 64)"
    assert misfit == f"{rule}, but got rank={largest + 1}"


def test_a_train_of_more_numbers_than_the_weight_is_refused() -> None:
    rule = "`parameters < rows * cols` must hold, but rank=3 and modes=3 give"
    assert TensorTrain(rank=2).misfit((7, 5)) is None
    assert TensorTrain(rank=3).misfit((7, 5)) == f"{rule} 46 parameters for the 35 of shape (7, 5)"


@pytest.mark.parametrize("shape", [(1, 8), (8, 1), (1, 1)])
def test_vectors_are_refused(shape: Shape) -> None:
    reason = f"a tensor train needs a matrix, but the shape is {shape}"
    assert TensorTrain(rank=1).misfit(shape) == reason


def test_sides_that_single_precision_cannot_hold_are_refused() -> None:
    shape = (2**24 + 1, 8)
    reason = f"`rows, cols <= 16777216` must hold, but the shape is {shape}"
    assert TensorTrain(rank=1).misfit(shape) == reason


@pytest.mark.parametrize("rank", [0, -1, 1.5, "many"])
def test_ranks_are_positive_integers(rank: object) -> None:
    with pytest.raises(ValidationError, match="rank"):
        TensorTrain.model_validate({"rank": rank})


@pytest.mark.parametrize("modes", [1, 5, 2.5])
def test_there_are_two_to_four_cores(modes: object) -> None:
    with pytest.raises(ValidationError, match="modes"):
        TensorTrain.model_validate({"rank": 1, "modes": modes})


NAME = "embedding.weight"


def plan_with(precision: Precision) -> CompressionPlan:
    treatments = dict(uncompressed_plan(tiny_source()).treatments)
    return CompressionPlan(treatments={**treatments, NAME: treat(TensorTrain(rank=3), precision)})


@pytest.mark.parametrize("precision", [Float32(), Float16(), EntropyStep(step=0.2)])
def test_a_train_comes_back_from_a_file(tmp_path: Path, precision: Precision) -> None:
    plan = plan_with(precision)
    compress(tiny_model(), plan, TinyTask(), tmp_path / "model.acz")
    artifact = open_artifact(tmp_path / "model.acz")
    weight = tiny_source().weights.weights[NAME].matrix
    structure = TensorTrain(rank=3)
    decoded = {
        name: factor.values if factor.integers else precision.quantize(factor)
        for name, factor in structure.factorize(weight, None).items()
    }
    assert artifact.plan == plan
    assert np.array_equal(artifact.state_dict()[NAME], structure.reconstruct(decoded))


def test_steps_by_row_frequency_are_refused(tmp_path: Path) -> None:
    plan = plan_with(EntropyStep(step=0.5, frequency_exponent=0.5))
    with pytest.raises(PlanError, match=r"'tt3 rank 3 .*' does not fit .*tensor_train keeps"):
        compress(tiny_model(), plan, TinyTask(), tmp_path / "model.acz")
