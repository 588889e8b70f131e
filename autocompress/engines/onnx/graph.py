"""An ONNX graph in the making."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from autocompress.support.files import write_whole

_OPSET, _IR_VERSION = 21, 10  # the first with tensors of 4 bits
MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""


class Graph:
    """Collects nodes and constants; what was computed before is not computed again."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._known: dict[str, tuple[str, ...]] = {}
        self._results: dict[str, str] = {}

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add a tensor, unless one of this name is there, and return its name."""
        if name not in self._constants:
            contiguous = np.ascontiguousarray(values).reshape(values.shape)
            self._constants[name] = numpy_helper.from_array(contiguous, name)
        return name

    def constant_int4(self, name: str, values: NDArray[np.int8]) -> str:
        """Add a tensor of whole numbers from -8 to 7, two in a byte, the first one low.

        Args:
            name: Its name.
            values: Int8 of shape (rows, cols), for an even number of columns.
        """
        if name not in self._constants:
            tensor = TensorProto(name=name, data_type=TensorProto.INT4, dims=values.shape)
            tensor.raw_data = pack_nibbles(values).tobytes()
            self._constants[name] = tensor
        return name

    def call(
        self,
        operator: str,
        inputs: Sequence[str],
        outputs: Sequence[str] | int = 1,
        **options: Any,
    ) -> tuple[str, ...]:
        """Add a node and return the names of its outputs.

        Args:
            operator: Its type, as in "MatMul"; `domain="com.microsoft"` for ONNX Runtime's own.
            inputs: Names of tensors; an empty one leaves an optional input out.
            outputs: How many there are, or their names.
            options: Attributes of the node.
        """
        key = repr((operator, tuple(inputs), sorted(options.items())))
        if not isinstance(outputs, int) or key not in self._known:
            number = len(self._nodes)
            names = (
                tuple(f"{operator}{number}.{place}" for place in range(outputs))
                if isinstance(outputs, int)
                else tuple(outputs)
            )
            self._nodes.append(
                helper.make_node(operator, inputs, names, name=f"{operator}{number}", **options)
            )
            self._known[key] = names
        return self._known[key]

    def one(self, operator: str, inputs: Sequence[str], **options: Any) -> str:
        """Add a node with a single output and return its name."""
        return self.call(operator, inputs, **options)[0]

    def result(self, tensor: str, name: str) -> None:
        """Make a tensor an output of the model under a name; at most once for each tensor."""
        self._results[tensor] = name

    def model(
        self,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
        metadata: Mapping[str, str],
    ) -> onnx.ModelProto:
        """Return the whole model, checked."""
        for node in self._nodes:
            for names in (node.input, node.output):
                names[:] = [self._results.get(name, name) for name in names]
        constants = list(self._constants.values())
        graph = helper.make_graph(self._nodes, self._name, inputs, outputs, constants)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model)
        return model


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write a model into a file, in one step."""
    write_whole(path, model.SerializeToString())


def pack_nibbles(values: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Put two numbers of 4 bits into each byte, the first one low: (..., 2 n) to (..., n)."""
    nibbles: NDArray[np.uint8] = np.bitwise_and(values, 15).astype(np.uint8)
    packed: NDArray[np.uint8] = nibbles[..., ::2] + nibbles[..., 1::2] * np.uint8(16)
    return packed
