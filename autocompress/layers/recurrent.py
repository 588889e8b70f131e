"""Recurrent layers: LSTM, GRU and RNN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from autocompress.layers.base import LAYERS, LayerAdapter, Products, Role
from autocompress.layers.stepping import Steps

_ROLES: dict[str, Role] = {"weight_ih": "input", "weight_hh": "recurrent", "weight_hr": "other"}
State = Tensor | tuple[Tensor, ...] | None


def _flat_weights(module: nn.RNNBase) -> list[Tensor]:
    return [getattr(module, name) for name in module._flat_weights_names]


class RecurrentAdapter(LayerAdapter):
    """Steps a recurrent module through time, with whatever multiplies in place of its weights.

    All that PyTorch's own modules take is understood: both orders of the first two axes, single
    sequences, packed ones, two directions, projected states.
    """

    # PyTorch's modules keep a list of all weights beside the parameters, and compute with it.
    namespace: ClassVar[Mapping[str, Any]] = {
        "_flat_weights": property(_flat_weights, lambda module, value: None),
        "flatten_parameters": lambda module: None,
    }

    def roles(self, module: nn.Module) -> dict[str, Role]:
        """Return the roles of the weights: of the inputs, of the states, of their projection."""
        assert isinstance(module, nn.RNNBase)
        names = [name for name in module._flat_weights_names if name.startswith("weight")]
        return {name: _ROLES[name[:9]] for name in names}

    def sites(self, module: nn.Module) -> list[tuple[str, tuple[str, ...]]]:
        """Name the states of each layer, which its recurrent and the next input weight multiply.

        Where there are two directions, or projected states, the two vectors differ.
        """
        assert isinstance(module, nn.RNNBase)
        if module.bidirectional or module.proj_size:
            return []
        found = []
        for layer in range(module.num_layers):
            behind = (f"weight_ih_l{layer + 1}",) if layer + 1 < module.num_layers else ()
            found.append((f"l{layer}", (f"weight_hh_l{layer}", *behind)))
        return found

    def emitted(self, module: nn.Module, output: Any) -> Tensor | None:
        """Return the states of the last layer; those of packed sequences are not followed."""
        del module
        return output[0] if isinstance(output[0], Tensor) else None

    def run(  # type: ignore[override]
        self, module: nn.RNNBase, product: Products, input: Any, hx: State = None
    ) -> Any:
        """Compute the states over time, and those at the end."""
        if module.training and module.dropout:
            return NotImplemented
        if isinstance(input, PackedSequence):
            return _run_packed(module, product, input, hx)
        if not isinstance(input, Tensor) or input.dim() not in (2, 3) or not input.numel():
            return NotImplemented
        if input.dim() == 2:
            return _run_single(module, product, input, hx)
        x = input.transpose(0, 1) if module.batch_first else input
        begin = _begin(module, x, x.shape[1], hx)
        if begin is None:
            return NotImplemented
        steps = Steps(module, product, [x.shape[1]] * x.shape[0])
        output, ends = steps.run(x.flatten(0, 1), *begin)

        def arranged(states: Tensor) -> Tensor:
            states = states.reshape(*x.shape[:2], -1)
            return states.transpose(0, 1) if module.batch_first else states

        output = arranged(output)
        if steps.projected is not None:
            last = product(f"weight_hh_l{module.num_layers - 1}")
            last.remember(output, arranged(steps.projected))
        return output, _joined(ends)


def _run_single(module: nn.RNNBase, product: Products, x: Tensor, hx: State) -> Any:
    """Run over one sequence, (time, width), as over a batch of one."""
    axis = 0 if module.batch_first else 1
    hx = _each(hx, lambda state: state.unsqueeze(1))
    found = RecurrentAdapter().run(module, product, x.unsqueeze(axis), hx)
    if found is NotImplemented:
        return found
    output, end = found
    return output.squeeze(axis), _each(end, lambda state: state.squeeze(1))


def _run_packed(module: nn.RNNBase, product: Products, x: PackedSequence, hx: State) -> Any:
    """Run over sequences of several lengths."""
    if hx is not None and x.sorted_indices is not None:
        hx = _each(hx, lambda state: state.index_select(1, x.sorted_indices))
    begin = _begin(module, x.data, int(x.batch_sizes[0]), hx)
    if begin is None:
        return NotImplemented
    output, ends = Steps(module, product, x.batch_sizes.tolist()).run(x.data, *begin)
    end = _joined(ends)
    if x.unsorted_indices is not None:
        end = _each(end, lambda state: state.index_select(1, x.unsorted_indices))
    return PackedSequence(output, x.batch_sizes, x.sorted_indices, x.unsorted_indices), end


def _begin(
    module: nn.RNNBase, x: Tensor, batch: int, hx: State
) -> tuple[Tensor, Tensor | None] | None:
    """Return hidden states and cells to begin with; None if something is not of its shape."""
    lines = module.num_layers * (2 if module.bidirectional else 1)
    shapes = [(lines, batch, module.proj_size or module.hidden_size)]
    if module.mode == "LSTM":
        shapes.append((lines, batch, module.hidden_size))
    given = [hx] if isinstance(hx, Tensor) else hx
    states = [x.new_zeros(shape) for shape in shapes] if given is None else list(given)
    fit = [tuple(state.shape) for state in states] == shapes
    if not fit or x.shape[-1] != module.input_size:
        return None
    return states[0], states[1] if len(states) > 1 else None


def _joined(ends: list[tuple[Tensor, Tensor | None]]) -> State:
    hidden = torch.stack([end for end, _ in ends])
    cells = [cell for _, cell in ends if cell is not None]
    return (hidden, torch.stack(cells)) if cells else hidden


def _each(state: State, change: Any) -> Any:
    """Change a state, be it one tensor, several or none."""
    if state is None or isinstance(state, Tensor):
        return state if state is None else change(state)
    return tuple(change(part) for part in state)


@LAYERS.register("lstm")
class LSTMAdapter(RecurrentAdapter):
    """Knows `nn.LSTM`."""

    layer = nn.LSTM


@LAYERS.register("gru")
class GRUAdapter(RecurrentAdapter):
    """Knows `nn.GRU`."""

    layer = nn.GRU


@LAYERS.register("rnn")
class RNNAdapter(RecurrentAdapter):
    """Knows `nn.RNN`."""

    layer = nn.RNN
