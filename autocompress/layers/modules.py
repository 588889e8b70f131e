"""Modules that compute with operators in place of weights, for inference."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from autocompress.errors import ModelError
from autocompress.layers.operators import Operator

State = Tensor | tuple[Tensor, Tensor]


class FactoredEmbedding(nn.Module):
    """Looks rows up in an operator."""

    def __init__(self, operator: Operator) -> None:
        super().__init__()
        self.operator = operator

    def forward(self, ids: Tensor) -> Tensor:
        """Return rows (..., cols) for int64 ids of any shape."""
        return self.operator.rows(ids)


class FactoredLinear(nn.Module):
    """Applies an operator and a bias.

    Args:
        operator: The weight.
        bias: Of shape (rows,), or None.
        projected: Whether inputs come projected already, from the recurrent layers.
    """

    def __init__(self, operator: Operator, bias: Tensor | None, *, projected: bool) -> None:
        super().__init__()
        self.operator, self.bias, self._projected = operator, bias, projected

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., cols), or (..., rank) if projected, to (..., rows)."""
        y = self.operator.expand(x) if self._projected else self.operator(x)
        return y if self.bias is None else y + self.bias


class FactoredRecurrent(nn.Module):
    """Steps an LSTM, GRU or RNN through time with operators in place of its weights.

    Where a layer's recurrent weight and the next layer's input weight share a projection, each
    hidden state is projected once, as in Grachev et al. 2019 (arXiv 1902.02380, sec. 3). States
    go in and come out as those of the module replaced.

    Args:
        module: What is replaced: unidirectional and without `proj_size`.
        operators: By parameter name, as in "weight_ih_l0".
        emits_projections: Whether to return the projections of the last layer's hidden states
            instead of the states, for a layer behind that goes on from there.
    """

    def __init__(
        self, module: nn.RNNBase, operators: Mapping[str, Operator], *, emits_projections: bool
    ) -> None:
        super().__init__()
        self._mode, self._layers = module.mode, module.num_layers
        self._hidden, self._batch_first = module.hidden_size, module.batch_first
        self._emits_projections = emits_projections
        self.operators = nn.ModuleDict(operators)
        self.biases = nn.ParameterDict(
            {name: value for name, value in module.named_parameters() if name.startswith("bias")}
        )

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run over time.

        Args:
            x: Of shape (time, batch, width), or (batch, time, width) if batch comes first.
            state: (layers, batch, hidden), for an LSTM a pair; None stands for zeros.

        Raises:
            ModelError: If the input is not of three dimensions.
        """
        if not isinstance(x, Tensor) or x.dim() != 3:
            raise ModelError("factored recurrent layers take tensors of three dimensions")
        x = x.transpose(0, 1) if self._batch_first else x
        zeros = x.new_zeros(self._layers, x.shape[1], self._hidden)
        hidden, cell = (
            state if isinstance(state, tuple) else (zeros if state is None else state, zeros)
        )
        states, projected = [], self._at("ih", 0).project(x)
        for layer in range(self._layers):
            output, projections, last = self._run(layer, projected, hidden[layer], cell[layer])
            states.append(last)
            if layer + 1 < self._layers:
                behind = self._at("ih", layer + 1)
                shared = behind.projection is not None
                shared = shared and behind.projection is self._at("hh", layer).projection
                projected = projections if shared else behind.project(output)
        result = projections if self._emits_projections else output
        result = result.transpose(0, 1) if self._batch_first else result
        ends = tuple(torch.stack(parts) for parts in zip(*states, strict=True))
        return result, (ends[0], ends[1]) if self._mode == "LSTM" else ends[0]

    def _at(self, kind: str, layer: int) -> Operator:
        operator = self.operators[f"weight_{kind}_l{layer}"]
        assert isinstance(operator, Operator)
        return operator

    def _run(
        self, layer: int, projected: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Step one layer through time; return its states, their projections, and its end."""
        recurrent = self._at("hh", layer)
        inputs = self._at("ih", layer).expand(projected) + self._bias("ih", layer)
        outputs, projections = [], []
        z = recurrent.project(hidden)
        for now in inputs:
            again = recurrent.expand(z) + self._bias("hh", layer)
            hidden, cell = self._step(now, again, hidden, cell)
            z = recurrent.project(hidden)
            outputs.append(hidden)
            projections.append(z)
        return torch.stack(outputs), torch.stack(projections), (hidden, cell)

    def _bias(self, kind: str, layer: int) -> Tensor | float:
        name = f"bias_{kind}_l{layer}"
        bias: Tensor | float = self.biases.get(name, 0.0)
        return bias

    def _step(
        self, now: Tensor, again: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return hidden and cell state after a step; gates are in the order of PyTorch."""
        if self._mode == "LSTM":
            entry, forget, change, exit_ = (now + again).chunk(4, dim=-1)
            cell = forget.sigmoid() * cell + entry.sigmoid() * change.tanh()
            return exit_.sigmoid() * cell.tanh(), cell
        if self._mode == "GRU":
            reset, update, change = now.chunk(3, dim=-1)
            reset_again, update_again, change_again = again.chunk(3, dim=-1)
            keep = (update + update_again).sigmoid()
            fresh = (change + (reset + reset_again).sigmoid() * change_again).tanh()
            return (1 - keep) * fresh + keep * hidden, cell
        total = now + again
        return (total.tanh() if self._mode == "RNN_TANH" else total.relu()), cell
