"""Random models, stored by many plans: what is loaded is what was stored, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from grammar import Made, made
from grammar_modules import Locked
from grammar_task import Scores, batches, outputs, snapshot
from numpy.typing import NDArray
from strategies import FOR_MODELS, PRECISIONS, treat
from torch import Tensor, nn

import autocompress
from autocompress.artifact import Artifact, open_artifact
from autocompress.encoding.encoder import Encoder, uncompressed_plan
from autocompress.errors import AutocompressError, PlanError
from autocompress.knowledge.source import Source
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import EqualSlope, Uniform
from autocompress.structures import Dense, GroupReduce, LowRank

# PyTorch warns so, in any training, of hooks on layers that read what has no gradient.
pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")

SHORT, ALL = range(25), range(200)
EIGHT_BITS = treat(Dense(), Uniform(bits=8, group="tensor"))
EQUAL_SLOPE = treat(Dense(), EqualSlope(slope=1e-4))
DRAWN = (*FOR_MODELS, LowRank(rank=2), LowRank(rank=3, fit="loss"), GroupReduce(blocks=2, rank=2))
ROUNDING = {torch.float16: 0.03, torch.bfloat16: 0.2}
EXACT_IN = (torch.float32, torch.float16, torch.bfloat16)


def fits(encoder: Encoder, plan: Mapping[str, Treatment]) -> bool:
    """Whether a plan can be carried out."""
    try:
        encoder.check(CompressionPlan(treatments=dict(plan)))
        for name, treatment in plan.items():
            encoder.encode(name, treatment)
    except PlanError:
        return False
    return True


def where_it_fits(encoder: Encoder, treatment: Treatment) -> CompressionPlan:
    """Return the plan that treats all weights alike that can be, and the others exactly."""
    plan = dict(uncompressed_plan(encoder.source).treatments)
    for name in list(plan):
        other = {**plan, name: treatment}
        plan = other if fits(encoder, other) else plan
    return CompressionPlan(treatments=plan)


def drawn(encoder: Encoder, random: Random) -> CompressionPlan:
    """Return a plan of random treatments, of sites too."""
    source = encoder.source
    plan = dict(uncompressed_plan(source).treatments)
    for site in source.calibration.sites:
        if random.random() < 0.5 and set(site.members) <= set(plan):
            rest = {name: plan[name] for name in plan if name not in site.members}
            other = {**rest, site.name: treat(random.choice(DRAWN), random.choice(PRECISIONS))}
            plan = other if fits(encoder, other) else plan
    for name in list(plan):
        other = {**plan, name: treat(random.choice(DRAWN), random.choice(PRECISIONS))}
        plan = other if fits(encoder, other) else plan
    return CompressionPlan(treatments=plan)


def plans(encoder: Encoder, seed: int) -> Iterator[CompressionPlan]:
    """Yield the plans that every model is stored by."""
    weights = encoder.source.weights.weights
    yield uncompressed_plan(encoder.source)
    yield CompressionPlan(treatments=dict.fromkeys(weights, EIGHT_BITS))
    yield CompressionPlan(treatments=dict.fromkeys(weights, EQUAL_SLOPE))
    yield where_it_fits(encoder, treat(LowRank(rank=2), Uniform(bits=8, group="row")))
    yield drawn(encoder, Random(seed))


def effective(model: nn.Module) -> dict[str, Tensor]:
    """Return by name what all modules compute with, independently of the package."""
    found = {}
    twin = model.eval()
    for path, module in twin.named_modules(remove_duplicate=False):
        names = [*module._parameters, *module._buffers, *getattr(module, "parametrizations", ())]
        names += [name.removesuffix("_orig") for name in names if name.endswith("_orig")]
        names += [name.removesuffix("_v") for name in names if name.endswith("_v")]
        for name in names:
            value = getattr(module, name, None)
            if isinstance(value, Tensor):
                found[f"{path}.{name}" if path else name] = value.detach().clone()
    return found


def in_memory(source: Source, plan: CompressionPlan) -> dict[str, NDArray[np.float32]]:
    """Return every weight as structure and precision leave it, without any file."""
    found = {}
    for name, treatment in plan.treatments.items():
        factors: dict[str, Any] = Encoder(source).factorize(name, treatment)
        precision = treatment.precision
        decoded = {
            key: factor.values if factor.integers else precision.quantize(factor)
            for key, factor in factors.items()
        }
        rows = iter(treatment.structure.reconstruct(decoded))
        for weight in source.members(name):
            matrix = np.stack([next(rows) for _ in weight.matrix])
            if weight.values.ndim > 1:
                matrix = np.where(weight.matrix.any(axis=1, keepdims=True), matrix, 0)
            for alias in (weight.name, *weight.aliases):
                found[alias] = matrix.reshape(weight.values.shape)
    return found


def check_stored(artifact: Artifact, source: Source, plan: CompressionPlan) -> None:
    """Fail if a file does not hold what the plan makes of the weights."""
    stored, expected = artifact.state_dict(), in_memory(source, plan)
    assert set(stored) == set(expected) | set(source.weights.buffers)
    for name, values in expected.items():
        assert np.array_equal(stored[name], values), name
    treated = [member.name for item in artifact.contents.header.items for member in item.members]
    assert sorted(treated) == sorted(source.weights.weights)


def check_loaded(loaded: nn.Module, artifact: Artifact, original: dict[str, Tensor]) -> None:
    """Fail if a module does not hold what the file does, in the dtypes that the model had."""
    state, stored = loaded.state_dict(), artifact.state_dict()
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    assert set(tensors) == set(stored)
    assert not loaded.training
    for name, tensor in tensors.items():
        wanted = torch.from_numpy(stored[name]).to(original[name].dtype)
        assert tensor.dtype == original[name].dtype
        assert torch.equal(tensor.nan_to_num(), wanted.nan_to_num()), name
        if not isinstance(loaded.state_dict(keep_vars=True)[name], nn.Parameter):
            assert torch.equal(tensor.nan_to_num(), original[name].nan_to_num()), name
        elif tensor.dim() > 1 and tensor.is_floating_point():
            zero = ~original[name].flatten(1).any(dim=1)
            assert not tensor[zero].any(), name


def check_ties(model: nn.Module, fresh: nn.Module, source: Source) -> None:
    """Fail if what a model ties was stored twice, or is apart in one that was filled."""

    def place(tensor: Tensor) -> tuple[object, ...]:
        return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype

    tensors = {n: t for n, t in model.named_parameters(remove_duplicate=False) if t.numel()}
    filled = dict(fresh.named_parameters(remove_duplicate=False))
    for name, tensor in tensors.items():
        for other, twin in tensors.items():
            if place(tensor) == place(twin) and name in filled and other in filled:
                assert place(filled[name]) == place(filled[other]), (name, other)
                firsts = [w for w in source.weights.weights.values()
                          if {name, other} & {w.name, *w.aliases}]  # fmt: skip
                assert len(firsts) <= 1, (name, other)


def close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Whether outputs are equal, or differ by rounding alone."""
    return torch.allclose(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


def by_hand(seed: int, artifact: Artifact) -> nn.Module:
    """Return the model of a seed with the tensors of a file written into its own."""
    model = made(seed).model
    with torch.no_grad():
        for name, tensor in model.state_dict(keep_vars=True).items():
            if isinstance(tensor, Tensor):
                tensor.copy_(torch.from_numpy(artifact.state_dict()[name]))
    return model


def check_file(one: Made, source: Source, artifact: Artifact, original: dict[str, Tensor]) -> None:
    """Load a file in both ways, and compare with what it holds, and with what was stored."""
    loaded = autocompress.load(artifact, made(one.seed).model)
    check_loaded(loaded, artifact, original)
    check_ties(one.model, loaded, source)
    tolerance = ROUNDING.get(one.dtype, 1e-4)
    exact = artifact.plan == uncompressed_plan(source)
    for name, tensor in loaded.state_dict().items():
        if exact and name in source.weights.weights and tensor.dtype in EXACT_IN:
            assert torch.equal(tensor, original[name]), name
    found = outputs(loaded)
    assert not exact or close(found, outputs(made(one.seed).model), tolerance)
    if not one.computed:
        assert torch.equal(outputs(by_hand(one.seed, artifact)), found)
    factored = autocompress.load(artifact, made(one.seed).model, factored=True)
    assert close(outputs(factored), found, tolerance)


def check_model(seed: int, folder: Path) -> None:
    """Store the model of a seed by many plans, and compare what is loaded."""
    one = made(seed)
    task = Scores(batches(one.model), losses=seed % 3 > 0)
    before = snapshot(one.model)
    if one.refusal:
        with pytest.raises(AutocompressError, match=one.refusal):
            Source.of(one.model, task)
        return
    source, original = Source.of(one.model, task), effective(made(seed).model)
    assert snapshot(one.model) == before
    encoder, path = Encoder(source), folder / "model.acz"
    for number, plan in enumerate(plans(encoder, seed)):
        encoder.write(plan, path)
        artifact = open_artifact(path)
        check_stored(artifact, source, plan)
        check_file(one, source, artifact, original)
        if number == seed % 5:
            again = autocompress.compress(one.model, plan, task, folder / "again.acz")
            assert again.path.read_bytes() == path.read_bytes()
    assert snapshot(one.model) == before


@pytest.mark.parametrize("seed", SHORT)
def test_what_is_loaded_is_what_was_stored(seed: int, tmp_path: Path) -> None:
    check_model(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [seed for seed in ALL if seed not in SHORT])
def test_what_is_loaded_is_what_was_stored_of_many_more(seed: int, tmp_path: Path) -> None:
    check_model(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", ALL[::40])
def test_the_best_of_a_search_is_what_was_measured(seed: int, out: Path) -> None:
    one = made(seed)
    task = Scores(batches(one.model), losses=seed % 3 > 0)
    before = snapshot(one.model)
    # Files are written of a layer that cannot be copied, but an engine runs copies.
    locked = any(isinstance(module, Locked) for module in one.model.modules())
    refusal = "`copy.deepcopy` of the model fails" if locked else one.refusal
    if refusal:
        with pytest.raises(AutocompressError, match=refusal):
            autocompress.search(one.model, task, trials=2, out=out, seed=0)
        return
    result = autocompress.search(one.model, task, trials=2, out=out, seed=0)
    assert snapshot(one.model) == before
    expected = task.evaluate(made(seed).model.eval(), "valid")
    assert result.baseline.values["distance"] == pytest.approx(
        expected, rel=ROUNDING.get(one.dtype, 1e-4)
    )
    for trial in result.front:
        loaded = autocompress.load(trial.artifact, made(seed).model)
        assert task.evaluate(loaded, "valid") == trial.values["distance"]
