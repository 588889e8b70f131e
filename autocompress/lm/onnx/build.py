"""The graph of a language model, built node by node from an artifact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper

from autocompress.artifact import Artifact
from autocompress.engines.onnx.cells import CELLS, Layer
from autocompress.engines.onnx.graph import Graph
from autocompress.engines.onnx.maps import Maps
from autocompress.engines.onnx.weights import Map
from autocompress.errors import ExportError
from autocompress.lm.carried_words import carried_config
from autocompress.lm.config import LanguageModelConfig
from autocompress.plan import Runtime

Form = Literal["step", "sequence"]


def build(
    artifact: Artifact,
    form: Form = "step",
    top_k: int | None = None,
    runtime: Runtime | None = None,
) -> onnx.ModelProto:
    """Build the ONNX model of a language model.

    Inputs are `words`, int64 (time, batch), and per layer the state `h0`, for an LSTM `c0` too,
    float32 (1, batch, hidden); outputs are `logits`, float32 (time, batch, vocabulary), and the
    states after them, `h0_next`, ... With `top_k`, `top_words`, int64 (time, batch, k), and
    `top_probabilities` come instead of the logits, the likeliest first.

    Every weight runs as its treatment says: in single precision, in 8 or in 4 bits. Structures
    that are thin products, such as low rank, run as these where that takes less time, projections
    that weights of a site share are made once; all other weights are decoded.

    Args:
        artifact: Of a language model.
        form: "step" takes one word of each text at a time, as a keyboard does. "sequence" takes
            any number, to score whole texts: recurrent layers that no fused operator of ONNX
            Runtime can run then run decoded, in single precision.
        top_k: How many words to predict, or None for the logits of all.
        runtime: In what numbers all weights run, or None for what their treatments say.

    Raises:
        ArtifactError: If the artifact is damaged.
        ExportError: If it holds no language model, or `top_k` is out of its range.
    """
    config = _config(artifact)
    if top_k is not None and not 1 <= top_k <= config.vocab_size:
        raise ExportError(f"`1 <= top_k <= {config.vocab_size}` must hold, but got {top_k}")
    maps, graph = Maps(artifact, runtime), Graph("language_model")
    x = maps["embedding.weight"].rows(graph, "words")
    for number in range(config.num_layers):
        layer = _layer(config, number, maps, maps.__getitem__)
        before = tuple(f"{name}{number}" for name in layer.cell.states)
        after = tuple(f"{name}_next" for name in before)
        if form == "step":
            x = layer.step(graph, x, before, after)
        else:
            if not layer.runs_fused:
                layer = _layer(config, number, maps, maps.exact)
            x = layer.sequence(graph, x, before, after)
    bias = graph.constant("decoder.bias", maps.decoded("decoder.bias")) if config.bias else None
    _score(graph, maps["decoder.weight"].times(graph, x, bias), top_k)
    inputs, outputs = _signature(config, form, top_k)
    return graph.model(inputs, outputs, _metadata(artifact, config))


def _score(graph: Graph, logits: str, top_k: int | None) -> None:
    """Make the logits, or the likeliest words, outputs of the model."""
    if top_k is None:
        graph.result(logits, "logits")
        return
    count = graph.constant("top_k", np.array([top_k], np.int64))
    likely = graph.one("Softmax", [logits])
    graph.call("TopK", [likely, count], ("top_probabilities", "top_words"))


def _state_names(config: LanguageModelConfig) -> list[str]:
    """Return the names of the states that go in; those coming out end in `_next`."""
    states = CELLS[config.cell].states
    return [f"{name}{number}" for number in range(config.num_layers) for name in states]


def _config(artifact: Artifact) -> LanguageModelConfig:
    config = carried_config(artifact)
    if config is None:
        raise ExportError(
            f"'{artifact.path}' holds no language model of this package, of which alone ONNX "
            "models can be made"
        )
    return config


def _layer(
    config: LanguageModelConfig, number: int, maps: Maps, weight: Callable[[str], Map]
) -> Layer:
    name = f"{config.cell}.{{}}_l{number}"
    biases = None
    if config.bias:
        biases = maps.decoded(name.format("bias_ih")), maps.decoded(name.format("bias_hh"))
    return Layer(
        name=f"{config.cell}.l{number}",
        cell=CELLS[config.cell],
        entering=weight(name.format("weight_ih")),
        recurrent=weight(name.format("weight_hh")),
        biases=biases,
        hidden=config.hidden_size,
    )


def _signature(
    config: LanguageModelConfig, form: Form, top_k: int | None
) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    """Return the inputs and outputs of the graph."""

    def tensor(name: str, shape: Sequence[str | int], whole: bool = False) -> onnx.ValueInfoProto:
        kind = TensorProto.INT64 if whole else TensorProto.FLOAT
        return helper.make_tensor_value_info(name, kind, shape)

    time: str | int = 1 if form == "step" else "time"
    state = (1, "batch", config.hidden_size)
    states = _state_names(config)
    scores = [tensor("logits", (time, "batch", config.vocab_size))]
    if top_k is not None:
        shape = (time, "batch", top_k)
        scores = [tensor("top_words", shape, whole=True), tensor("top_probabilities", shape)]
    inputs = [tensor("words", (time, "batch"), whole=True)]
    inputs += [tensor(name, state) for name in states]
    return inputs, [*scores, *(tensor(f"{name}_next", state) for name in states)]


def _metadata(artifact: Artifact, config: LanguageModelConfig) -> dict[str, str]:
    """Return what a reader of the file needs besides the graph: the words, one a line."""
    vocabulary = artifact.assets().get("vocab.txt")
    words = {} if vocabulary is None else {"vocabulary": vocabulary.decode()}
    special = {"unknown": config.unknown, "end_of_sentence": config.end_of_sentence}
    return {**words, **special, "source_sha256": artifact.source_sha256}
