"""Stepping recurrent layers through time, with anything that multiplies in place of weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autocompress.layers.base import Products


class Steps:
    """Computes what a recurrent module does, one step of one layer after the other.

    Args:
        module: An LSTM, a GRU or an RNN.
        product: What multiplies.
        sizes: How many sequences there are at each step; they never get more.
    """

    def __init__(self, module: nn.RNNBase, product: Products, sizes: list[int]) -> None:
        self._module, self._product, self._sizes = module, product, sizes
        self.projected: Tensor | None = None
        self._last = ""

    def run(
        self, data: Tensor, hidden: Tensor, cell: Tensor | None
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor | None]]]:
        """Run all layers.

        Args:
            data: The inputs of all steps, of shape (sum of sizes, width).
            hidden: States to begin with, (layers * directions, sequences, state).
            cell: The same of an LSTM's cells, or None.

        Returns:
            The states of the last layer, (sum of sizes, directions * state), and the states and
            cells at the end of each layer and direction.
        """
        ends: list[tuple[Tensor, Tensor | None]] = []
        for layer in range(self._module.num_layers):
            parts = []
            for suffix in ("", "_reverse") if self._module.bidirectional else ("",):
                now = len(ends)
                begin = hidden[now], None if cell is None else cell[now]
                states, end = self._run(data, f"l{layer}{suffix}", *begin)
                parts.append(states)
                ends.append(end)
            data = torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]
        return data, ends

    def _run(
        self, data: Tensor, name: str, hidden: Tensor, cell: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor | None]]:
        """Run one layer in one direction."""
        recurrent = self._product(f"weight_hh_{name}")
        inputs = self._product(f"weight_ih_{name}").times(data, self._bias("ih", name))
        bias = self._bias("hh", name)
        steps = list(zip(self._sizes, torch.split(inputs, self._sizes), strict=True))
        states, projections = [], []
        z = recurrent.project(hidden)
        for size, now in reversed(steps) if name.endswith("reverse") else steps:
            again = recurrent.expand(_first(z, size), bias)
            before = _first(hidden, size), None if cell is None else _first(cell, size)
            state, new_cell = step(self._module.mode, now, again, *before)
            if self._module.proj_size:
                state = self._product(f"weight_hr_{name}").times(state)
            states.append(state)
            projections.append(recurrent.project(state))
            hidden, z = _over(state, hidden), _over(projections[-1], z)
            cell = None if cell is None or new_cell is None else _over(new_cell, cell)
        if name.endswith("reverse"):
            states.reverse()
        output = torch.cat(states)
        if projections[0] is not states[0] and not self._module.bidirectional:
            self.projected = torch.cat(projections)
            recurrent.remember(output, self.projected)
        return output, (hidden, cell)

    def _bias(self, kind: str, name: str) -> Tensor | None:
        bias: Tensor | None = getattr(self._module, f"bias_{kind}_{name}", None)
        return bias


def step(
    mode: str, now: Tensor, again: Tensor, hidden: Tensor, cell: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Return hidden and cell state after a step; gates are in the order of PyTorch.

    Args:
        mode: As `nn.RNNBase` calls it: "LSTM", "GRU", "RNN_TANH" or "RNN_RELU".
        now: What the input weight and its bias make of the input, (..., gates * state).
        again: What the recurrent weight and its bias make of the state.
        hidden: The state before, (..., state).
        cell: The same of an LSTM's cell, or None.
    """
    if cell is not None:
        entry, forget, change, exit_ = (now + again).chunk(4, dim=-1)
        cell = forget.sigmoid() * cell + entry.sigmoid() * change.tanh()
        return exit_.sigmoid() * cell.tanh(), cell
    if mode == "GRU":
        reset, update, change = now.chunk(3, dim=-1)
        reset_again, update_again, change_again = again.chunk(3, dim=-1)
        keep = (update + update_again).sigmoid()
        fresh = (change + (reset + reset_again).sigmoid() * change_again).tanh()
        return (1 - keep) * fresh + keep * hidden, None
    total = now + again
    return (total.tanh() if mode == "RNN_TANH" else total.relu()), None


def _first(states: Tensor, size: int) -> Tensor:
    return states if len(states) == size else states[:size]


def _over(new: Tensor, old: Tensor) -> Tensor:
    """Return states of which the first are new; sequences that are over keep theirs."""
    return new if len(new) == len(old) else torch.cat([new, old[len(new) :]])
