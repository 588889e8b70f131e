"""A weight in the numbers in which ONNX Runtime multiplies it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autocompress.engines.onnx.graph import MICROSOFT, Graph, pack_nibbles
from autocompress.plan import Runtime
from autocompress.structures import Matrix

_BLOCK = 32
_BITS = 4
_SMALL_ACTIVATIONS = 4  # activations in 8 bits: the only level of accuracy with fast kernels


class Map(ABC):
    """A weight of shape (rows, cols), in the form in which it runs."""

    @abstractmethod
    def times(self, graph: Graph, x: str, bias: str | None = None) -> str:
        """Multiply vectors (..., cols) to (..., rows), and add a bias (rows,)."""

    @abstractmethod
    def rows(self, graph: Graph, ids: str) -> str:
        """Look rows up: ids of shape (...) to (..., cols)."""

    @abstractmethod
    def permuted(self, order: NDArray[np.int64]) -> Map:
        """Return the weight with its rows in another order."""


@dataclass(frozen=True)
class Dense(Map):
    """A matrix that is multiplied, or looked up, as it is.

    - "float32": MatMul, Gather.
    - "int8": whole numbers times one scale. Activations are quantized when the model runs, to
      8 bits between their smallest and largest value. One scale a row would cost more time than
      the product itself.
    - "int4": whole numbers times a scale for every 32 neighbours of a row (MatMulNBits,
      GatherBlockQuantized).

    Attributes:
        name: What its constants are called; equal names stand for equal matrices.
        matrix: Float32 of shape (rows, cols).
        runtime: The numbers.
        is_tied: Whether the same rows are both looked up and multiplied. They are then stored
            once, which does not work for 4 bits.
    """

    name: str
    matrix: Matrix
    runtime: Runtime = "float32"
    is_tied: bool = False

    def times(self, graph: Graph, x: str, bias: str | None = None) -> str:
        """Multiply vectors (..., cols) to (..., rows), and add a bias (rows,)."""
        if self.runtime == "int4":
            return self._times_int4(graph, x, bias)
        if self.runtime == "int8":
            codes, scale = to_int8(self.matrix)
            inputs = [x, self._columns(graph, "/int8", codes), *self._scale(graph, scale)]
            inputs += [bias] if bias else []
            return graph.one("DynamicQuantizeMatMul", inputs, domain=MICROSOFT)
        product = graph.one("MatMul", [x, self._columns(graph, "", self.matrix)])
        return graph.one("Add", [product, bias]) if bias else product

    def rows(self, graph: Graph, ids: str) -> str:
        """Look rows up: ids of shape (...) to (..., cols)."""
        if self.runtime == "int4":
            return self._rows_int4(graph, ids)
        if self.runtime == "int8":
            codes, scale = to_int8(self.matrix)
            found = graph.one("Gather", [graph.constant(f"{self.name}/int8", codes), ids])
            return graph.one("DequantizeLinear", [found, *self._scale(graph, scale)])
        return graph.one("Gather", [graph.constant(self.name, self.matrix), ids])

    def permuted(self, order: NDArray[np.int64]) -> Dense:
        """Return the matrix with its rows in another order."""
        return replace(self, matrix=self.matrix[order])

    def _columns(self, graph: Graph, suffix: str, values: NDArray[Any]) -> str:
        """Return a constant (cols, rows); ONNX Runtime transposes tied ones once, on loading."""
        if self.is_tied:
            stored = graph.constant(f"{self.name}{suffix}", values)
            return graph.one("Transpose", [stored], perm=[1, 0])
        return graph.constant(f"{self.name}{suffix}/columns", values.T)

    def _scale(self, graph: Graph, scale: np.float32) -> tuple[str, str]:
        return (
            graph.constant(f"{self.name}/scale", np.asarray(scale)),
            graph.constant("zero", np.zeros((), np.int8)),
        )

    def _times_int4(self, graph: Graph, x: str, bias: str | None) -> str:
        n_rows, n_cols = self.matrix.shape
        codes, scales = to_int4(self.matrix)
        padding = -n_cols % _BLOCK
        padded = np.pad(codes, ((0, 0), (0, padding))) + 8  # 8 stands for zero
        packed = pack_nibbles(padded).reshape(n_rows, -1, _BLOCK // 2)
        inputs = [
            x,
            graph.constant(f"{self.name}/int4/blocks", packed),
            graph.constant(f"{self.name}/scales/flat", scales.ravel()),
            *(["", "", bias] if bias else []),
        ]
        shape = {"K": n_cols, "N": n_rows, "bits": _BITS, "block_size": _BLOCK}
        options = {**shape, "accuracy_level": _SMALL_ACTIVATIONS}
        return graph.one("MatMulNBits", inputs, domain=MICROSOFT, **options)

    def _rows_int4(self, graph: Graph, ids: str) -> str:
        n_cols = self.matrix.shape[1]
        codes, scales = to_int4(self.matrix)
        inputs = [
            graph.constant_int4(f"{self.name}/int4", np.pad(codes, ((0, 0), (0, n_cols % 2)))),
            ids,
            graph.constant(f"{self.name}/scales", scales),
        ]
        options = {"block_size": _BLOCK, "gather_axis": 0, "quantize_axis": 1}
        found = graph.one("GatherBlockQuantized", inputs, domain=MICROSOFT, **options)
        if n_cols % 2 == 0:
            return found
        limits = (np.array([limit], np.int64) for limit in (0, n_cols, -1))
        names = ("first", "width", "last_axis")
        cut = [
            graph.constant(f"{self.name}/{name}", limit)
            for name, limit in zip(names, limits, strict=True)
        ]
        return graph.one("Slice", [found, *cut])


def to_int8(matrix: Matrix) -> tuple[NDArray[np.int8], np.float32]:
    """Round to whole numbers from -127 to 127 times one scale."""
    scale = np.float32(np.abs(matrix).max(initial=0) / 127) or np.float32(1)
    return np.rint(matrix / scale).astype(np.int8), scale


def to_int4(matrix: Matrix) -> tuple[NDArray[np.int8], Matrix]:
    """Round to whole numbers from -8 to 7 times a scale for every 32 neighbours of a row.

    The largest of them becomes -8, whatever its sign.

    Returns:
        Int8 of the same shape, and float32 scales of shape (rows, blocks of 32 columns).
    """
    n_rows, n_cols = matrix.shape
    blocks = np.pad(matrix, ((0, 0), (0, -n_cols % _BLOCK))).reshape(n_rows, -1, _BLOCK)
    places = np.abs(blocks).argmax(axis=2)[..., None]
    scales = np.take_along_axis(blocks, places, axis=2) / -8
    scales = np.where(scales == 0, np.float32(1), scales).astype(np.float32)
    codes = np.clip(np.rint(blocks / scales), -8, 7).astype(np.int8)
    return codes.reshape(n_rows, -1)[:, :n_cols], scales[..., 0].astype(np.float32)
