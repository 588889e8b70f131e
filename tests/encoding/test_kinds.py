"""Models of every kind are stored, and loaded as what was stored."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from kinds import (
    COMBINATIONS,
    COMPUTING,
    DTYPES,
    TIES,
    Model,
    NextToken,
    check_untouched,
    computing,
    made,
    outputs,
    plan_of,
    state,
)
from torch import nn

import autocompress
from autocompress.artifact import Artifact
from autocompress.encoding.encoder import uncompressed_plan
from autocompress.knowledge.source import Source
from autocompress.layers.factors import Factors

LOW_RANK = {"kind": "low_rank", "rank": 2}
DENSE = {"kind": "dense"}


def by_hand(artifact: Artifact, model: Model) -> torch.Tensor:
    """Return what a model computes whose tensors are the stored ones, none of them tied."""
    with torch.no_grad():
        plain = copy.deepcopy(model)
        plain.decoder.weight = nn.Parameter(plain.decoder.weight.clone())
        for name, tensor in plain.state_dict(keep_vars=True).items():
            tensor.copy_(torch.from_numpy(artifact.state_dict()[name]))
    return outputs(plain)


@pytest.mark.parametrize(("layer", "tie", "dtype", "losses"), COMBINATIONS)
def test_what_is_loaded_is_what_is_stored(
    layer: str, tie: str, dtype: str, losses: bool, tmp_path: Path
) -> None:
    model, task = made(layer, tie, DTYPES[dtype]), NextToken(losses=losses)
    before = state(model)
    source = Source.of(model, task)
    aliases = source.weights.weights["embedding.weight"].aliases
    assert aliases == (() if tie == "apart" else ("decoder.weight",))
    for structure in (DENSE, LOW_RANK):
        plan = plan_of(source, structure, 3)
        artifact = autocompress.compress(model, plan, task, tmp_path / "model.acz")
        check_untouched(model, before)
        expected = by_hand(artifact, model)
        for other in TIES:
            loaded = autocompress.load(artifact, made(layer, other, DTYPES[dtype]))
            assert torch.equal(outputs(loaded), expected)
            assert not loaded.embedding.weight[0].any()  # type: ignore[union-attr, index]
            for name, buffer in model.named_buffers():
                found = loaded.get_buffer(name)
                assert torch.equal(found, buffer)
                assert found.dtype == buffer.dtype
        factored = autocompress.load(artifact, copy.deepcopy(model), factored=True)
        tolerance = 0.1 if dtype == "bfloat16" else 1e-5
        torch.testing.assert_close(outputs(factored), expected, rtol=tolerance, atol=tolerance)
        if structure == LOW_RANK and layer == "convolution":
            assert any(isinstance(module, Factors) for module in factored.modules())
        assert not factored.embedding(torch.tensor(0)).any()  # type: ignore[operator]


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize("layer", ["linear", "lstm"])
@pytest.mark.parametrize("kind", COMPUTING)
def test_the_weight_that_is_computed_is_stored(kind: str, layer: str, tmp_path: Path) -> None:
    model, task = computing(kind, layer), NextToken()
    before = state(model)
    source = Source.of(model, task)
    names = set(source.weights.weights)
    assert names == {name for name, _ in made(layer).named_parameters()}
    for plan in (uncompressed_plan(source), plan_of(source, LOW_RANK, 8)):
        artifact = autocompress.compress(model, plan, task, tmp_path / "model.acz")
        check_untouched(model, before)
        expected = by_hand(artifact, made(layer))
        for other in (computing(kind, layer), made(layer)):
            torch.testing.assert_close(outputs(autocompress.load(artifact, other)), expected)
            again = autocompress.load(artifact, other, factored=True)
            torch.testing.assert_close(outputs(again), expected)
    exact = autocompress.compress(model, uncompressed_plan(source), task, tmp_path / "exact.acz")
    found = outputs(autocompress.load(exact, computing(kind, layer)))
    torch.testing.assert_close(found, outputs(model))


def test_views_that_overlap_are_weights_apart(tmp_path: Path) -> None:
    def overlapping() -> nn.ParameterList:
        whole = torch.arange(30.0).reshape(6, 5) ** 2
        return nn.ParameterList([whole[:4], whole[2:], whole[:4].mT])

    class Task(NextToken):
        def forward(self, model: nn.Module, batch: object) -> None:
            del model, batch

    model, task = overlapping(), Task(losses=False)
    source = Source.of(model, task)
    assert list(source.weights.weights) == ["0", "1", "2"]
    plan = plan_of(source, DENSE, 2)
    artifact = autocompress.compress(model, plan, task, tmp_path / "model.acz")
    loaded, stored = autocompress.load(artifact, overlapping()), artifact.state_dict()
    assert (stored["0"][2:] != stored["1"][:2]).any()
    for name, parameter in loaded.named_parameters():
        assert torch.equal(parameter, torch.from_numpy(stored[name]))


def test_one_module_under_two_names_cannot_hold_two_weights(tmp_path: Path) -> None:
    class Task(NextToken):
        def forward(self, model: nn.Module, batch: object) -> None:
            del model, batch

    apart, part = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), nn.Linear(3, 3)
    plan = uncompressed_plan(Source.of(apart, Task(losses=False)))
    path = tmp_path / "model.acz"
    autocompress.compress(apart, plan, Task(losses=False), path)
    with pytest.raises(autocompress.AutocompressError, match="ties it to"):
        autocompress.load(path, nn.Sequential(part, part))


def test_a_state_of_its_own_stays_with_a_module(tmp_path: Path) -> None:
    class Counting(Model):
        def __init__(self, count: int) -> None:
            super().__init__()
            self.count = count

        def get_extra_state(self) -> dict[str, int]:
            return {"count": self.count}

        def set_extra_state(self, state: dict[str, int]) -> None:
            self.count = state["count"]

    model, task = Counting(5), NextToken()
    plan = uncompressed_plan(Source.of(model, task))
    artifact = autocompress.compress(model, plan, task, tmp_path / "model.acz")
    loaded = autocompress.load(artifact, Counting(7))
    assert loaded.count == 7
    assert torch.equal(outputs(loaded), outputs(model))


def test_of_a_compiled_model_the_one_inside_is_stored_and_filled(tmp_path: Path) -> None:
    inside, task = made("lstm"), NextToken()
    before = state(inside)
    compiled: nn.Module = torch.compile(inside, backend="eager")  # type: ignore[assignment]
    source = Source.of(compiled, task)
    assert list(source.weights.weights) == [name for name, _ in inside.named_parameters()]
    assert "layer.rnn.weight_hh_l0" in source.calibration.curvatures
    plan = plan_of(source, LOW_RANK, 3)
    artifact = autocompress.compress(compiled, plan, task, tmp_path / "model.acz")
    check_untouched(inside, before)
    expected = by_hand(artifact, inside)
    other: nn.Module = torch.compile(made("lstm"), backend="eager")  # type: ignore[assignment]
    outputs(other)
    assert autocompress.load(artifact, other) is other
    assert torch.equal(outputs(other), expected)
    factored = autocompress.load(artifact, other, factored=True)
    torch.testing.assert_close(outputs(factored), expected)


def test_a_part_that_is_compiled_is_watched_as_it_was_written(tmp_path: Path) -> None:
    model, task = made("linear"), NextToken()
    model.layer.compile(backend="eager")
    model.decoder = torch.compile(model.decoder, backend="eager")  # type: ignore[assignment]
    outputs(model.train())
    source = Source.of(model.train(), task)
    assert {"layer.weight", "decoder._orig_mod.weight"} <= set(source.calibration.curvatures)
    artifact = autocompress.compress(
        model, uncompressed_plan(source), task, tmp_path / "model.acz"
    )
    assert torch.equal(outputs(autocompress.load(artifact, copy.deepcopy(model))), outputs(model))


def test_a_model_spread_over_devices_is_stored_by_its_own_names(tmp_path: Path) -> None:
    model, task = nn.DataParallel(made("gru")), NextToken()
    source = Source.of(model, task)
    assert "module.layer.rnn.weight_hh_l0" in source.calibration.curvatures
    artifact = autocompress.compress(
        model, uncompressed_plan(source), task, tmp_path / "model.acz"
    )
    assert torch.equal(outputs(autocompress.load(artifact, copy.deepcopy(model))), outputs(model))
