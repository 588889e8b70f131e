"""A language model as an ONNX graph, quantized by ONNX Runtime's tools, and run by it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from torch import Tensor, nn

from autocompress.lm import LanguageModel

_OPSET, _IR_VERSION = 21, 10  # the first with tensors of 4 bits
_INT8 = {"Gather", "DequantizeLinear", "DynamicQuantizeLSTM", "MatMulInteger"}
_INT4 = {"GatherBlockQuantized", "DynamicQuantizeLSTM", "MatMulNBits"}
_FULL_SIZE = 10_000  # numbers; biases may stay in single precision, larger weights may not


def write_graph(model: LanguageModel, path: Path) -> None:
    """Write an LSTM language model in single precision.

    Inputs are `words`, int64 (time, batch), and `h0`, `c0`, `h1`, ... of shape (1, batch, hidden);
    outputs are `logits` (time, batch, vocabulary) and the states after them, `h0_next`, ...
    """
    weights = {name: values.detach().numpy() for name, values in model.named_parameters()}
    initializers = {
        "embedding": weights["embedding.weight"],
        "decoder": np.ascontiguousarray(weights["decoder.weight"].T),
        "decoder_bias": weights["decoder.bias"],
        "direction": np.array([1], np.int64),
    }
    nodes = [helper.make_node("Gather", ["embedding", "words"], ["x0"], name="embed")]
    for layer in range(model.config.num_layers):
        initializers |= _layer_weights(weights, layer)
        nodes += _layer_nodes(layer, model.config.hidden_size)
    last = f"x{model.config.num_layers}"
    nodes.append(helper.make_node("MatMul", [last, "decoder"], ["product"], name="decode"))
    nodes.append(helper.make_node("Add", ["product", "decoder_bias"], ["logits"], name="add_bias"))
    inputs, outputs = _signature(model)
    tensors = [numpy_helper.from_array(values, name) for name, values in initializers.items()]
    graph = helper.make_graph(nodes, "language_model", inputs, outputs, tensors)
    opsets = [helper.make_opsetid("", _OPSET)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
    onnx.checker.check_model(proto)
    onnx.save(proto, path)


def _signature(
    model: LanguageModel,
) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    """Return the inputs and outputs of the graph."""

    def tensor(name: str, shape: Sequence[str | int]) -> onnx.ValueInfoProto:
        kind = TensorProto.INT64 if name == "words" else TensorProto.FLOAT
        return helper.make_tensor_value_info(name, kind, shape)

    states = _state_names(model)
    state = (1, "batch", model.config.hidden_size)
    logits = tensor("logits", ("time", "batch", model.config.vocab_size))
    return (
        [tensor("words", ("time", "batch")), *(tensor(name, state) for name in states)],
        [logits, *(tensor(f"{name}_next", state) for name in states)],
    )


def _state_names(model: LanguageModel) -> list[str]:
    return [f"{part}{layer}" for layer in range(model.config.num_layers) for part in "hc"]


def _layer_weights(
    weights: dict[str, NDArray[np.float32]], layer: int
) -> dict[str, NDArray[np.float32]]:
    def ordered(name: str) -> NDArray[np.float32]:
        # torch stacks the gates as input, forget, cell, output; ONNX has the output second
        entry, forget, change, leave = np.split(weights[f"lstm.{name}_l{layer}"], 4)
        return np.concatenate([entry, leave, forget, change])

    biases = np.concatenate([ordered("bias_ih"), ordered("bias_hh")])
    return {
        f"w{layer}": ordered("weight_ih")[None],
        f"r{layer}": ordered("weight_hh")[None],
        f"b{layer}": biases[None],
    }


def _layer_nodes(layer: int, hidden: int) -> list[onnx.NodeProto]:
    tensors = ["x", "w", "r", "b", "", "h", "c"]
    inputs = [f"{name}{layer}" if name else "" for name in tensors]
    outputs = [f"y{layer}", f"h{layer}_next", f"c{layer}_next"]
    squeezed = [f"x{layer + 1}"]
    return [
        helper.make_node("LSTM", inputs, outputs, name=f"lstm{layer}", hidden_size=hidden),
        helper.make_node("Squeeze", [f"y{layer}", "direction"], squeezed, name=f"squeeze{layer}"),
    ]


def quantize_int8(source: Path, path: Path) -> None:
    """Quantize all weights to 8 bits, with one scale a tensor."""
    quantize_dynamic(source, path, op_types_to_quantize=["MatMul", "LSTM", "Gather"])
    _check(path, _INT8)


def quantize_int4(source: Path, path: Path) -> None:
    """Quantize the LSTM to 8 bits, then embedding and output layer to 4 bits in blocks of 32."""
    # In the other order, the LSTM would stay in single precision without a word.
    quantize_dynamic(source, path, op_types_to_quantize=["LSTM"])
    quantizer = MatMulNBitsQuantizer(
        onnx.load(path),
        bits=4,
        block_size=32,
        is_symmetric=True,
        op_types_to_quantize=("MatMul", "Gather"),
    )
    quantizer.process()
    onnx.save(quantizer.model.model, path)
    _check(path, _INT4)


def _check(path: Path, wanted: set[str]) -> None:
    """Refuse a graph of which something stayed in single precision: the tools do not tell."""
    graph = onnx.load(path).graph
    missing = wanted - {node.op_type for node in graph.node}
    exact = [
        tensor.name
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.FLOAT
        and np.prod(tensor.dims) > _FULL_SIZE
        and "scale" not in tensor.name
    ]
    if missing or exact:
        raise RuntimeError(f"not quantized: {exact}; operators missing: {sorted(missing)}")


class OnnxModel(nn.Module):
    """A graph that `autocompress.lm.perplexity` can measure, on one thread."""

    def __init__(self, path: Path, model: LanguageModel) -> None:
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self._hidden = model.config.hidden_size
        self._states = _state_names(model)

    def forward(
        self, words: Tensor, state: Sequence[NDArray[np.float32]] | None
    ) -> tuple[Tensor, Sequence[NDArray[np.float32]]]:
        """Score the next word after each word; the state goes in as it came out."""
        zeros = np.zeros((1, words.shape[1], self._hidden), np.float32)
        given = [zeros] * len(self._states) if state is None else state
        feeds = {"words": words.numpy(), **dict(zip(self._states, given, strict=True))}
        outputs = ["logits", *(f"{name}_next" for name in self._states)]
        logits, *after = self._session.run(outputs, feeds)
        return torch.from_numpy(logits), after
