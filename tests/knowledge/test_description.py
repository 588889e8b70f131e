"""What is known of each weight is told, and of what is not known, what to do about it."""

from kinds import NextToken, made

from autocompress.knowledge.description import WeightDescription, described
from autocompress.knowledge.source import Source


def found(layer: str, tie: str = "apart", *, losses: bool = True) -> dict[str, WeightDescription]:
    model = made(layer, tie)
    return {one.name: one for one in described(model, Source.of(model, NextToken(losses=losses)))}


def test_every_matrix_of_a_known_layer_is_measured() -> None:
    for layer in ("convolution", "cells", "transposed", "attention"):
        for one in found(layer).values():
            if one.role not in ("bias", "norm") and len(one.shape) > 1:
                assert one.is_measured, one
            if one.name != "layer.temperature":
                assert one.remedy is None, one


def test_adapters_and_ties_are_named() -> None:
    weights = found("convolution", "storage")
    assert weights["embedding.weight"].adapter == "embedding"
    assert weights["embedding.weight"].aliases == ("decoder.weight",)
    kernel = weights["layer.convolution.weight"]
    assert (kernel.adapter, kernel.role, kernel.bytes) == ("conv1d", "convolution", 768)
    norm = weights["layer.norm.weight"]
    assert (norm.adapter, norm.layer, norm.role) == ("batch_norm", "BatchNorm1d", "norm")
    assert norm.fewest_bits == 16
    assert found("transposed")["layer.norm.weight"].fewest_bits == 32


def test_what_is_unknown_comes_with_its_remedy() -> None:
    weights = found("own")
    unknown = {name for name, one in weights.items() if one.is_unknown}
    assert unknown == {"layer.mixing", "layer.scale", "layer.temperature"}
    for name in unknown:
        assert "register one for 'Own'" in str(weights[name].remedy)
        assert not weights[name].is_measured
    assert weights["layer.pairs.weight"].is_measured
    assert [weights[f"layer.{n}"].fewest_bits for n in ("mixing", "scale", "temperature")] == [
        0, 16, 32,
    ]  # fmt: skip


def test_without_losses_the_remedy_is_to_give_some() -> None:
    weights = found("linear", losses=False)
    assert "define them in the task" in str(weights["layer.weight"].remedy)
    assert weights["layer.bias"].remedy is None
