"""Where tensors lie in memory: which of them are one and the same, and how to part them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping

import torch
from torch import Tensor, nn


def place_of(tensor: Tensor) -> Hashable:
    """Return what two tensors have in common that are one: the same memory in the same layout.

    So weights are found that are tied by hand, as by
    `decoder.weight = nn.Parameter(embedding.weight.data)`. Views that only overlap are not one.
    """
    if tensor.layout != torch.strided or tensor.is_meta or not tensor.numel():
        return id(tensor)
    layout = tensor.dtype, tuple(tensor.shape), tensor.stride()
    return tensor.device, tensor.data_ptr(), layout


def first_names(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Map every name to the first name under which the same tensor appears."""
    firsts: dict[Hashable, str] = {}
    return {name: firsts.setdefault(place_of(tensor), name) for name, tensor in tensors.items()}


def part(model: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Give tensors memory of their own that do not hold what they were given.

    That is so where a model ties what is to differ, or holds views that overlap: the one that
    was written last holds its values, and the others are spoilt.

    Args:
        model: Holds the values of `state`, but for that; changed in place.
        state: By state-dict name, what each tensor is to hold.

    Returns:
        The names of what could not be parted, since one module has several names.
    """
    for name, tensor in _spoilt(model, state):
        path, _, key = name.rpartition(".")
        own = state[name].to(tensor, copy=True)
        is_parameter = isinstance(tensor, nn.Parameter)
        value = nn.Parameter(own, tensor.requires_grad) if is_parameter else own
        setattr(model.get_submodule(path), key, value)
    return [name for name, _ in _spoilt(model, state)]


def _spoilt(model: nn.Module, state: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    tensors = model.state_dict(keep_vars=True)
    found = []
    for names in sharing({name: tensors[name] for name in state if name in tensors}):
        for name in names:
            expected = state[name].to(tensors[name])
            if not torch.equal(tensors[name].nan_to_num(), expected.nan_to_num()):
                found.append((name, tensors[name]))
    return found


def sharing(tensors: Mapping[str, Tensor]) -> Iterator[list[str]]:
    """Yield the names of tensors whose memory is the same, or parts of the same."""
    shared: dict[int, list[str]] = {}
    for name, tensor in tensors.items():
        if tensor.layout == torch.strided and not tensor.is_meta and tensor.numel():
            shared.setdefault(tensor.untyped_storage().data_ptr(), []).append(name)
    return (names for names in shared.values() if len(names) > 1)
