"""Recurrent layers as ONNX nodes: one fused operator, or a cell of single steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autocompress.engines.onnx.graph import MICROSOFT, Graph
from autocompress.engines.onnx.weights import Dense, Map, to_int8
from autocompress.structures import Matrix

Gates = tuple[int, ...]


class Cell(ABC):
    """A kind of recurrent layer.

    Attributes:
        fused: The ONNX operator that steps through time.
        onnx_order: For each gate of that operator, its place in PyTorch.
        states: Names of the states, the output first.
    """

    fused: str
    onnx_order: Gates
    states: tuple[str, ...] = ("h",)

    def options(self) -> dict[str, int]:
        """Return the attributes of the fused operator."""
        return {}

    @abstractmethod
    def step(self, graph: Graph, layer: Layer, x: str, before: tuple[str, ...]) -> tuple[str, ...]:
        """Return the states after one step from those before it."""


@dataclass(frozen=True)
class Layer:
    """One recurrent layer.

    Attributes:
        name: What its constants are called.
        cell: Its kind.
        entering: The weight of the input.
        recurrent: The weight of the state.
        biases: Two of shape (gates * hidden,), or None.
        hidden: Length of the state.
    """

    name: str
    cell: Cell
    entering: Map
    recurrent: Map
    biases: tuple[Matrix, Matrix] | None
    hidden: int

    def rows(self, order: Gates) -> NDArray[np.int64]:
        """Return which rows to take, so that the gates come in another order."""
        return np.concatenate(
            [np.arange(gate * self.hidden, (gate + 1) * self.hidden) for gate in order]
        )

    @property
    def runs_fused(self) -> bool:
        """Whether ONNX Runtime has a single operator for the layer as it is to run."""
        both = (self.entering, self.recurrent)
        numbers = {weight.runtime if isinstance(weight, Dense) else "factors" for weight in both}
        return numbers == {"float32"} or (numbers == {"int8"} and isinstance(self.cell, Lstm))

    def sequence(
        self, graph: Graph, x: str, before: tuple[str, ...], names: tuple[str, ...]
    ) -> str:
        """Run over all steps of the input and return the state at each, (time, batch, hidden).

        Args:
            graph: Takes the nodes.
            x: (time, batch, width).
            before: The states, (1, batch, hidden) each.
            names: What to call the states at the end.
        """
        steps = f"{self.name}/steps"
        self._fuse(graph, x, before, (steps, *names))
        direction = graph.constant("direction", np.array([1], np.int64))
        return graph.one("Squeeze", [steps, direction])

    def step(self, graph: Graph, x: str, before: tuple[str, ...], names: tuple[str, ...]) -> str:
        """Run one step and return the state, (1, batch, hidden).

        Args:
            graph: Takes the nodes.
            x: (1, batch, width).
            before: The states, (1, batch, hidden) each.
            names: What to call the states after the step.
        """
        if self.runs_fused:
            self._fuse(graph, x, before, ("", *names))
            return names[0]
        after = self.cell.step(graph, self, x, before)
        for state, name in zip(after, names, strict=True):
            graph.result(state, name)
        return after[0]

    def _fuse(
        self, graph: Graph, x: str, before: tuple[str, ...], outputs: tuple[str, ...]
    ) -> None:
        weights, operator, domain = self._fused_weights(graph)
        inputs = [x, *weights[:2], self._fused_biases(graph), "", *before]
        inputs += [""] if weights[2:] else []  # peepholes come before the scales
        inputs += weights[2:]
        options = {"hidden_size": self.hidden, **self.cell.options()}
        graph.call(operator, inputs, outputs, domain=domain, **options)

    def sum_of_products(self, graph: Graph, x: str, h: str, order: Gates) -> str:
        """Return what enters the gates: both products and both biases, gates in an order."""
        rows = self.rows(order)
        entering, recurrent = self.entering.permuted(rows), self.recurrent.permuted(rows)
        bias = None
        if self.biases is not None:
            bias = graph.constant(f"{self.name}/bias", (self.biases[0] + self.biases[1])[rows])
        if (
            isinstance(entering, Dense)
            and isinstance(recurrent, Dense)
            and entering.runtime == recurrent.runtime
        ):
            both = np.concatenate([entering.matrix, recurrent.matrix], axis=1)
            joined = graph.one("Concat", [x, h], axis=-1)
            return Dense(f"{self.name}/both", both, entering.runtime).times(graph, joined, bias)
        again = recurrent.times(graph, h)
        return graph.one("Add", [entering.times(graph, x, bias), again])

    def _fused_weights(self, graph: Graph) -> tuple[list[str], str, str]:
        """Return weights (and scales) of the fused operator, its name and its domain."""
        rows = self.rows(self.cell.onnx_order)
        matrices = {
            kind: weight.permuted(rows)
            for kind, weight in (("w", self.entering), ("r", self.recurrent))
        }
        dense = {kind: one.matrix for kind, one in matrices.items() if isinstance(one, Dense)}
        assert len(dense) == len(matrices)
        if not any(isinstance(one, Dense) and one.runtime == "int8" for one in matrices.values()):
            names = [
                graph.constant(f"{self.name}/{kind}", one[None]) for kind, one in dense.items()
            ]
            return names, self.cell.fused, ""
        names, scales = [], []
        zero = graph.constant("zeros", np.zeros(1, np.int8))
        for kind, matrix in dense.items():
            codes, scale = to_int8(matrix)
            names.append(graph.constant(f"{self.name}/{kind}/int8", codes.T[None]))
            scales += [graph.constant(f"{self.name}/{kind}/scale", np.array([scale])), zero]
        return names + scales, "DynamicQuantizeLSTM", MICROSOFT

    def _fused_biases(self, graph: Graph) -> str:
        if self.biases is None:
            return ""
        rows = self.rows(self.cell.onnx_order)
        both = np.concatenate([bias[rows] for bias in self.biases])
        return graph.constant(f"{self.name}/biases", both[None])


class Lstm(Cell):
    """Gates in PyTorch: input, forget, cell, output."""

    fused = "LSTM"
    onnx_order = (0, 3, 1, 2)
    states = ("h", "c")

    def step(self, graph: Graph, layer: Layer, x: str, before: tuple[str, ...]) -> tuple[str, ...]:
        """The three gates with a sigmoid come first, so that one serves them all."""
        hidden, cell = before
        entering = layer.sum_of_products(graph, x, hidden, (0, 1, 3, 2))
        three, change = _split(graph, entering, (3, 1), layer.hidden)
        entry, forget, leave = _split(
            graph, graph.one("Sigmoid", [three]), (1, 1, 1), layer.hidden
        )
        added = graph.one("Mul", [entry, graph.one("Tanh", [change])])
        cell = graph.one("Add", [graph.one("Mul", [forget, cell]), added])
        return graph.one("Mul", [leave, graph.one("Tanh", [cell])]), cell


class Gru(Cell):
    """Gates in PyTorch: reset, update, new."""

    fused = "GRU"
    onnx_order = (1, 0, 2)

    def options(self) -> dict[str, int]:
        """The reset gate acts on the product, as in PyTorch."""
        return {"linear_before_reset": 1}

    def step(self, graph: Graph, layer: Layer, x: str, before: tuple[str, ...]) -> tuple[str, ...]:
        """The bias of the recurrent product is inside the reset gate."""
        (hidden,) = before
        names: list[str | None] = [None, None]
        if layer.biases is not None:
            names = [
                graph.constant(f"{layer.name}/bias{number}", bias)
                for number, bias in enumerate(layer.biases)
            ]
        now = layer.entering.times(graph, x, names[0])
        again = layer.recurrent.times(graph, hidden, names[1])
        two, change = _split(graph, now, (2, 1), layer.hidden)
        two_again, change_again = _split(graph, again, (2, 1), layer.hidden)
        gates = graph.one("Sigmoid", [graph.one("Add", [two, two_again])])
        reset, update = _split(graph, gates, (1, 1), layer.hidden)
        inner = graph.one("Add", [change, graph.one("Mul", [reset, change_again])])
        fresh = graph.one("Tanh", [inner])
        difference = graph.one("Sub", [hidden, fresh])
        return (graph.one("Add", [fresh, graph.one("Mul", [update, difference])]),)


class Rnn(Cell):
    """A single tanh."""

    fused = "RNN"
    onnx_order = (0,)

    def step(self, graph: Graph, layer: Layer, x: str, before: tuple[str, ...]) -> tuple[str, ...]:
        """Squash the sum."""
        return (graph.one("Tanh", [layer.sum_of_products(graph, x, before[0], (0,))]),)


CELLS: Mapping[str, Cell] = {"lstm": Lstm(), "gru": Gru(), "rnn": Rnn()}


def _split(graph: Graph, x: str, parts: tuple[int, ...], hidden: int) -> tuple[str, ...]:
    """Cut the last axis into parts of so many times the hidden size."""
    name = f"split{parts}x{hidden}"
    sizes = graph.constant(name, np.array(parts, np.int64) * hidden)
    return graph.call("Split", [x, sizes], len(parts), axis=-1)
