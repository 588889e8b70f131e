"""Modules whose parameters and buffers are tensors that something else computes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from autocompress.errors import ModelError


class Places:
    """The places of a model's parameters and buffers, where computed tensors can be put.

    The model stays of its class: `parameters()`, attributes and methods find the computed
    tensors. PyTorch's recurrent modules, which keep a list of their weights beside, notice of
    themselves that these are others.

    Args:
        model: Changed in place by `put`.
        names: State-dict names of tensors.

    Raises:
        ModelError: If a name is not that of a parameter or a buffer.
    """

    def __init__(self, model: nn.Module, names: Iterable[str]) -> None:
        modules = dict(model.named_modules(remove_duplicate=False))
        self._places: dict[str, _Place] = {}
        for name in names:
            path, _, key = name.rpartition(".")
            owner = modules.get(path, model)
            is_buffer = key in owner._buffers
            table: Any = owner._buffers if is_buffer else owner._parameters
            found = table.get(key)
            if found is None:
                raise ModelError(
                    f"'{name}' of the model's state must be a parameter or a buffer of its module "
                    "to be computed in training; leave `state_dict` as PyTorch defines it"
                )
            self._places[name] = _Place(table, key, torch.empty(0).to(found), is_buffer)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def put(self, name: str, tensor: Tensor) -> None:
        """Let a computed tensor be what lies at a place, in the dtype and on the device there.

        A buffer becomes a copy without a graph, since modules in training change theirs.
        """
        place = self._places.get(name)
        if place is not None:
            tensor = tensor.to(place.like)
            place.table[place.key] = tensor.detach().clone() if place.is_buffer else tensor


class _Place(NamedTuple):
    table: dict[str, Tensor]
    key: str
    like: Tensor
    is_buffer: bool


def set_dropout(model: nn.Module, probability: float) -> None:
    """Set the probability of all dropout modules, and of dropout between recurrent layers."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability
        elif isinstance(module, nn.RNNBase) and module.num_layers > 1:
            module.dropout = probability


def keep_statistics(model: nn.Module) -> None:
    """Let layers with running statistics normalise by these, in training as well.

    Files hold the statistics of the original model. Training with those of each batch would fit
    the weights to other ones; a call of `train` does not bring them back.
    """
    for module in model.modules():
        if isinstance(module, _NormBase) and module.running_mean is not None:
            vars(module.eval())["train"] = partial(_itself, module)


def _itself(module: nn.Module, mode: bool = True) -> nn.Module:
    del mode
    return module
