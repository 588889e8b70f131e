"""Recurrent cells, which take one step: LSTMCell, GRUCell and RNNCell."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from autocompress.layers.base import LAYERS, LayerAdapter, Products, Role
from autocompress.layers.stepping import step


class CellAdapter(LayerAdapter):
    """Steps a cell once, with whatever multiplies in place of its weights."""

    def roles(self, module: nn.Module) -> dict[str, Role]:
        """Return the roles of the weights: of the input, and of the state."""
        del module
        return {"weight_ih": "input", "weight_hh": "recurrent"}

    def run(self, module: nn.Module, product: Products, input: Tensor, hx: Any = None) -> Any:
        """Return the state after a step, of an LSTM with the cell; a batch of states, or one."""
        assert isinstance(module, nn.RNNCellBase)
        has_cell = isinstance(module, nn.LSTMCell)
        if hx is None:
            zeros = input.new_zeros(*input.shape[:-1], module.hidden_size)
            hx = (zeros, zeros) if has_cell else zeros
        hidden, cell = hx if has_cell else (hx, None)
        shape = *input.shape[:-1], module.hidden_size
        if input.dim() not in (1, 2) or tuple(hidden.shape) != shape:
            return NotImplemented
        now = product("weight_ih").times(input, module.bias_ih)
        again = product("weight_hh").times(hidden, module.bias_hh)
        state, after = step(self.mode(module), now, again, hidden, cell)
        return state if after is None else (state, after)

    def mode(self, module: nn.Module) -> str:
        """Return how the cell computes, as `nn.RNNBase` calls it."""
        if isinstance(module, nn.RNNCell):
            return f"RNN_{module.nonlinearity.upper()}"
        return "GRU" if isinstance(module, nn.GRUCell) else "LSTM"

    def sites(self, module: nn.Module) -> list[tuple[str, tuple[str, ...]]]:
        """Name the state, which the recurrent weight multiplies at the next step."""
        del module
        return [("state", ("weight_hh",))]

    def emitted(self, module: nn.Module, output: Any) -> Tensor | None:
        """Return the state after the step."""
        del module
        state: Tensor = output if isinstance(output, Tensor) else output[0]
        return state


@LAYERS.register("lstm_cell")
class LSTMCellAdapter(CellAdapter):
    """Knows `nn.LSTMCell`."""

    layer = nn.LSTMCell


@LAYERS.register("gru_cell")
class GRUCellAdapter(CellAdapter):
    """Knows `nn.GRUCell`."""

    layer = nn.GRUCell


@LAYERS.register("rnn_cell")
class RNNCellAdapter(CellAdapter):
    """Knows `nn.RNNCell`."""

    layer = nn.RNNCell
