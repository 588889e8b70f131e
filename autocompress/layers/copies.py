"""Copies of a user's model, so that the model itself is never touched."""

from __future__ import annotations

import copy
import sys
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from autocompress.errors import ModelError
from autocompress.layers.mapped import is_as_in_file, put_back
from autocompress.layers.memory import place_of
from autocompress.layers.parametrized import is_parametrized, make_plain
from autocompress.support.device import chosen_device, is_on

_TABLES = ("_parameters", "_buffers", "_modules")


def copied(model: nn.Module) -> nn.Module:
    """Return a copy, also of a model that holds tensors which it computed.

    Hooks that compute a weight, as those of `torch.nn.utils.weight_norm`, leave such behind;
    PyTorch copies no tensor that has a graph. Tensors that are one by their memory remain so,
    which PyTorch does not see to.

    Raises:
        Exception: Whatever an object raises that cannot be copied.
    """
    return _copied(model, {})


def _copied(model: nn.Module, copies: dict[int, Any]) -> nn.Module:
    """Copy a model, but for tensors of which copies are known by their ids."""
    held = [value for module in model.modules() for value in vars(module).values()]
    lists = [part for value in held if isinstance(value, list) for part in value]
    computed = [t for t in (*held, *lists) if isinstance(t, Tensor) and not t.is_leaf]
    copies = {id(tensor): tensor.detach().clone() for tensor in computed} | copies
    firsts: dict[Hashable, Tensor] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        first = firsts.setdefault(place_of(tensor), tensor)
        if first is not tensor and id(tensor) not in copies:
            twin = copy.deepcopy(first, copies).detach()
            is_parameter = isinstance(tensor, nn.Parameter)
            copies[id(tensor)] = nn.Parameter(twin, tensor.requires_grad) if is_parameter else twin
    return copy.deepcopy(model, copies)


def beside(model: nn.Module) -> nn.Module:
    """Return a copy that shares the memory of all parameters, and has all else of its own.

    For a model that serves beside another one and is never trained: large weights are then in
    memory once. A model that cannot be copied is returned itself.
    """
    shared: dict[int, Any] = {
        id(tensor): nn.Parameter(tensor.detach(), tensor.requires_grad)
        for tensor in model.parameters()
        if type(tensor) is nn.Parameter
    }
    try:
        return _copied(model, shared)
    except Exception:  # whatever a user's object raises
        return model


def needed_copy(model: nn.Module, why: str) -> nn.Module:
    """Return a copy that cannot be done without.

    Raises:
        ModelError: If the model cannot be copied; it says why a copy is needed.
    """
    try:
        return copied(model)
    except Exception as error:  # whatever a user's object raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ModelError(
            f"{why}, but `copy.deepcopy` of the model fails ({reason}); give it a `__deepcopy__`"
        ) from error


def original(model: nn.Module) -> nn.Module:
    """Return the model that `torch.compile` wrapped, whose tensors have the names it gave them."""
    frames: Any = sys.modules.get("torch._dynamo.eval_frame")
    while frames is not None and isinstance(model, frames.OptimizedModule):
        model = model._orig_mod
    return model


@contextmanager
def as_written() -> Iterator[None]:
    """Have what `torch.compile` made, anywhere in a model, run line by line as it was written.

    Functions and modules that are watched cannot be compiled.
    """
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def plain(model: nn.Module) -> nn.Module:
    """Return a model itself, or a copy in evaluation mode that computes none of its weights.

    Of what `torch.compile` wrapped, it is the model inside.

    Raises:
        ModelError: If a weight is computed that cannot become a parameter, or in a model that
            cannot be copied.
    """
    model = original(model)
    if not is_parametrized(model):
        return model
    twin = needed_copy(model, "weights that are computed from others are made plain in a copy")
    make_plain(twin.eval())
    return twin


def on_device(model: nn.Module, name: str | torch.device | None) -> nn.Module:
    """Return a model that lies on a device: itself, or a copy.

    Args:
        model: It is not changed.
        name: As `chosen_device` takes it; None is wherever the model lies.

    Raises:
        DeviceError: If there is no such device.
        ModelError: If the model lies elsewhere and cannot be copied.
    """
    device = None if name is None else chosen_device(name)
    if device is None or is_on(model, device):
        return model
    return needed_copy(model, f"what runs on {device} is a copy").to(device)


@contextmanager
def untouched(model: nn.Module) -> Iterator[nn.Module]:
    """Yield a copy of a model in evaluation mode, to do with it whatever is of use.

    Weights that lie in a file are shared with the copy, and put back from there in the end. A
    model that cannot be copied is yielded itself. Afterwards its tensors, gradients, modes and
    attributes are what they were; hooks are to be removed by whoever adds them.
    """
    shared: dict[int, Any] = {
        id(tensor): nn.Parameter(tensor.detach(), tensor.requires_grad)
        for tensor in model.parameters()
        if type(tensor) is nn.Parameter and is_as_in_file(tensor)
    }
    try:
        twin = _copied(model, dict(shared))
    except Exception:  # whatever a user's object raises
        with _put_back(model):
            yield model.eval()
        return
    try:
        yield twin.eval()
    finally:
        for tensor in shared.values():
            put_back(tensor)


@contextmanager
def _put_back(model: nn.Module) -> Iterator[None]:
    modules: list[tuple[nn.Module, dict[str, Any], dict[str, dict[str, Any]]]] = [
        (module, dict(vars(module)), {name: dict(vars(module)[name]) for name in _TABLES})
        for module in model.modules()
    ]
    tensors = {
        id(tensor): (tensor, tensor.detach().clone(), tensor.grad, tensor.requires_grad)
        for _, _, tables in modules
        for tensor in (*tables["_parameters"].values(), *tables["_buffers"].values())
        if tensor is not None
    }
    for tensor, _, _, _ in tensors.values():
        tensor.grad = None  # gradients are added up in place
    try:
        yield
    finally:
        for module, attributes, tables in modules:
            vars(module).clear()
            vars(module).update(attributes)
            for name, table in tables.items():
                vars(module)[name].clear()
                vars(module)[name].update(table)
        with torch.no_grad():
            for tensor, values, gradient, requires in tensors.values():
                tensor.copy_(values)
                tensor.grad = gradient
                tensor.requires_grad_(requires)
