"""Compression: every weight is treated as the plan says, or the plan is refused."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from strategies import (
    PRECISIONS,
    STRUCTURES,
    TinyTask,
    frequencies,
    gaussian,
    mixed_plan,
    tiny_model,
    tiny_source,
    treat,
)

from autocompress import compress, load
from autocompress.artifact import Artifact, open_artifact
from autocompress.encoding.encoder import Encoder, uncompressed_plan
from autocompress.errors import ModelError, PlanError
from autocompress.knowledge.source import Source
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import EntropyStep, Float16, Float32, Precision, Uniform
from autocompress.structures import Dense, LowRank, Matrix, Pruned, Structure

SOURCE = tiny_source()
EXACT = treat(Dense(), Float32())
Counts = NDArray[np.float64] | None
SITE = "h:lstm.l0"
SITE_MEMBERS = ("lstm.weight_hh_l0", "lstm.weight_ih_l1")


def plan_with(**changes: Treatment | None) -> CompressionPlan:
    """Return the uncompressed plan with some entries changed, or taken out."""
    treatments: dict[str, Treatment | None] = {**uncompressed_plan(SOURCE).treatments, **changes}
    kept = {name: treatment for name, treatment in treatments.items() if treatment is not None}
    return CompressionPlan(treatments=kept)


def written(plan: CompressionPlan, path: Path, source: Source = SOURCE) -> Artifact:
    Encoder(source).write(plan, path)
    return open_artifact(path)


def in_memory(weight: Matrix, treatment: Treatment, counts: Counts) -> Matrix:
    """Represent a weight without any file."""
    decoded = {}
    for name, factor in treatment.structure.factorize(weight, counts).items():
        if factor.integers:
            decoded[name] = factor.values
            continue
        # Where zero is a level, no mask is handed to the precision.
        mask = None if treatment.precision.has_zero_level else factor.mask
        streams = treatment.precision.encode(replace(factor, mask=mask))
        rows, cols = factor.values.shape
        decoded[name] = treatment.precision.decode(streams, (rows, cols), mask)
    return treatment.structure.reconstruct(decoded)


def goes_with(structure: Structure, precision: Precision) -> bool:
    """Whether the structure keeps the rows, if the precision has to know their frequencies."""
    factors = structure.factorize(gaussian((17, 6)), frequencies(17)).values()
    kept = any(f.row_frequencies is not None for f in factors if not f.integers)
    return kept or not precision.needs_row_frequencies


@pytest.mark.parametrize(
    ("structure", "precision"),
    [
        pytest.param(structure, precision, id=f"{structure.label()}-{precision.label()}")
        for structure in STRUCTURES
        for precision in PRECISIONS
        if goes_with(structure, precision)
    ],
)
def test_the_file_holds_what_structure_and_precision_say(
    tmp_path: Path, structure: Structure, precision: Precision
) -> None:
    treatment = treat(structure, precision)
    name = "embedding.weight"
    artifact = written(plan_with(**{name: treatment}), tmp_path / "model.acz")
    counts = SOURCE.calibration.row_frequencies[name]
    expected = in_memory(SOURCE.weights.weights[name].matrix, treatment, counts)
    assert np.array_equal(artifact.state_dict()[name], expected)


def test_the_uncompressed_plan_is_exact(tmp_path: Path) -> None:
    state = written(uncompressed_plan(SOURCE), tmp_path / "model.acz").state_dict()
    expected = tiny_model().state_dict()
    assert all(np.array_equal(state[name], expected[name].numpy()) for name in expected)


def test_every_name_of_the_state_comes_back_with_its_shape(tmp_path: Path) -> None:
    state = written(mixed_plan(), tmp_path / "model.acz").state_dict()
    expected = tiny_model().state_dict()
    assert {name: array.shape for name, array in state.items()} == {
        name: tuple(tensor.shape) for name, tensor in expected.items()
    }


def test_a_compressed_model_runs(tmp_path: Path) -> None:
    path = tmp_path / "model.acz"
    compress(tiny_model(), mixed_plan(), TinyTask(), path)
    model = load(path, tiny_model(seed=9))
    logits = model(torch.arange(15).reshape(3, 5))
    assert torch.isfinite(logits).all()
    assert logits.shape == (3, 5, 17)


def test_tied_names_stay_tied(tmp_path: Path) -> None:
    state = written(mixed_plan(), tmp_path / "model.acz").state_dict()
    assert state["decoder.weight"] is state["embedding.weight"]


def test_buffers_keep_dtype_and_shape(tmp_path: Path) -> None:
    state = written(mixed_plan(), tmp_path / "model.acz").state_dict()
    for name, buffer in SOURCE.weights.buffers.items():
        assert (state[name].dtype, state[name].shape) == (buffer.dtype, buffer.shape)
        assert np.array_equal(state[name], buffer)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_modules_of_half_precision_come_back(tmp_path: Path, dtype: torch.dtype) -> None:
    source = Source.of(tiny_model().to(dtype), TinyTask())
    written(uncompressed_plan(source), tmp_path / "model.acz", source)
    model = load(tmp_path / "model.acz", tiny_model(seed=9).to(dtype))
    expected = tiny_model().to(dtype).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def test_the_model_is_not_changed(tmp_path: Path) -> None:
    model = tiny_model()
    compress(model, mixed_plan(), TinyTask(), tmp_path / "model.acz")
    expected = tiny_model().state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def test_an_existing_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "model.acz"
    path.write_bytes(b"something else")
    assert written(mixed_plan(), path).plan == mixed_plan()


def test_nothing_but_the_file_is_left(tmp_path: Path) -> None:
    written(mixed_plan(), tmp_path / "model.acz")
    assert [path.name for path in tmp_path.iterdir()] == ["model.acz"]


def shared(precision: Precision, path: Path) -> Artifact:
    gone: dict[str, Treatment | None] = dict.fromkeys(SITE_MEMBERS)
    return written(plan_with(**{SITE: treat(LowRank(rank=2), precision)}, **gone), path)


def test_a_site_stores_its_right_factor_once(tmp_path: Path) -> None:
    header = shared(Float32(), tmp_path / "model.acz").contents.header
    (item,) = [item for item in header.items if item.name == SITE]
    lengths = {name: sum(s.length for s in streams) for name, streams in item.factors.items()}
    assert lengths == {"left": 4 * 48 * 2, "right": 4 * 2 * 6}


def test_the_weights_of_a_site_are_rows_of_one_product(tmp_path: Path) -> None:
    state = shared(Float32(), tmp_path / "model.acz").state_dict()
    stacked = np.concatenate([SOURCE.weights.weights[name].matrix for name in SITE_MEMBERS])
    expected = in_memory(stacked, treat(LowRank(rank=2), Float32()), None)
    assert np.array_equal(np.concatenate([state[name] for name in SITE_MEMBERS]), expected)


def test_a_site_with_a_tied_weight_comes_back(tmp_path: Path) -> None:
    site = "h:lstm.l1"
    gone: dict[str, Treatment | None] = dict.fromkeys(
        ("embedding.weight", "lstm.weight_hh_l1", "head.weight")
    )
    plan = plan_with(**{site: treat(LowRank(rank=6), Float32())}, **gone)
    state = written(plan, tmp_path / "model.acz").state_dict()
    expected = tiny_model().embedding.weight.detach().numpy()
    assert np.allclose(state["decoder.weight"], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": EXACT}, "the plan treats 'head', but the model has only: .*head.weight"),
        ({"decoder.weight": EXACT}, "the plan treats 'decoder.weight', but the model has only"),
        ({"head.bias": None}, "the plan leaves out: head.bias; every weight needs an entry"),
        (
            {SITE: EXACT},
            f"weight '{SITE_MEMBERS[0]}' is treated twice, by '{SITE_MEMBERS[0]}' and by '{SITE}'",
        ),
        (
            {"head.weight": treat(LowRank(rank=5), Uniform(bits=4))},
            r"'rank 5 \+ 4 bit per row' does not fit 'head.weight': .*\(4, 6\), but got rank=5",
        ),
        (
            {"head.bias": treat(LowRank(rank=1), Float32())},
            r"'rank 1 \+ fp32' does not fit 'head.bias': low rank needs a matrix",
        ),
        (
            {"head.bias": treat(Pruned(sparsity=0.05), Float32())},
            r"'pruned 5% \+ fp32' does not fit 'head.bias': .*prunes 0",
        ),
        (
            {"head.weight": treat(Dense(), EntropyStep(step=0.5, frequency_exponent=0.5))},
            r"'dense \+ step 0.5 rows\^0.5' does not fit 'head.weight': its rows have no freq",
        ),
        (
            {"head.weight": treat(LowRank(rank=2), EntropyStep(step=1e-12))},
            r"'rank 2 \+ step 1e-12' does not fit 'head.weight': .*step=1e-12 gives",
        ),
    ],
)
def test_a_plan_that_does_not_fit_names_weight_and_treatment(
    tmp_path: Path, changes: dict[str, Treatment | None], message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        written(plan_with(**changes), tmp_path / "model.acz")


def test_frequencies_of_part_of_a_site_do_not_do(tmp_path: Path) -> None:
    gone: dict[str, Treatment | None] = dict.fromkeys(
        ("embedding.weight", "lstm.weight_hh_l1", "head.weight")
    )
    stepped = treat(Dense(), EntropyStep(step=0.5, frequency_exponent=0.5))
    with pytest.raises(PlanError, match=r"does not fit 'h:lstm\.l1': its rows have no freq"):
        written(plan_with(**{"h:lstm.l1": stepped}, **gone), tmp_path / "model.acz")


def test_values_beyond_half_precision_are_refused(tmp_path: Path) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.head.weight[0, 0] = 1e5
    plan = plan_with(**{"head.weight": treat(Dense(), Float16())})
    with pytest.raises(PlanError, match=r"'dense \+ fp16' does not fit 'head.weight': .*100000"):
        compress(model, plan, TinyTask(), tmp_path / "model.acz")


def test_a_refused_plan_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(PlanError):
        written(plan_with(**{"head.bias": None}), tmp_path / "model.acz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_model_that_is_not_finite_is_refused(tmp_path: Path, value: float) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.convolution.weight[0, 0, 0] = value
    with pytest.raises(ModelError, match=r"'convolution\.weight' holds 1 NaN or infinite"):
        compress(model, mixed_plan(), TinyTask(), tmp_path / "model.acz")


def test_pruned_zeros_are_zeros_in_the_file(tmp_path: Path) -> None:
    state = written(mixed_plan(), tmp_path / "model.acz").state_dict()
    shares = {
        name: float((state[name] == 0).mean())
        for name in ("lstm.weight_ih_l0", "convolution.weight")
    }
    assert shares == {"lstm.weight_ih_l0": 0.5, "convolution.weight": pytest.approx(0.3, abs=0.01)}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("lstm.weight_ih_l0", True), ("convolution.weight", True), ("lstm.weight_hh_l1", False)],
)
def test_a_mask_is_stored_only_where_zero_is_no_level(
    tmp_path: Path, name: str, expected: bool
) -> None:
    items = written(mixed_plan(), tmp_path / "model.acz").contents.header.items
    (factors,) = [item.factors for item in items if item.name == name]
    assert ("mask" in [stream.name for stream in factors["weight"]]) is expected


def test_frequent_rows_are_stored_finer(tmp_path: Path) -> None:
    name = "embedding.weight"
    stepped = treat(Dense(), EntropyStep(step=1.0, frequency_exponent=1.0))
    state = written(plan_with(**{name: stepped}), tmp_path / "model.acz").state_dict()
    error = np.abs(state[name] - SOURCE.weights.weights[name].values).max(axis=1)
    assert error[0] < 0.1 * error[8:-1].max()


def test_a_coarser_plan_is_smaller(tmp_path: Path) -> None:
    sizes = [
        written(
            plan_with(**{"embedding.weight": treat(Dense(), precision)}), tmp_path / "m"
        ).size_bytes
        for precision in (Float32(), Float16(), Uniform(bits=4), EntropyStep(step=3.0))
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4
