"""The weights of a model, how they are tied, and which of them multiply the same vector."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from autocompress.errors import ModelError
from autocompress.structures import Matrix, matrix_shape

Role = Literal["embedding", "linear", "input", "recurrent", "bias", "other"]


@dataclass(frozen=True)
class Weight:
    """One parameter tensor.

    Attributes:
        name: Its state-dict name; of tied weights, the first.
        aliases: The other state-dict names under which the same tensor appears.
        role: What it does: "embedding" rows are looked up; "linear", "input" (of a recurrent
            layer) and "recurrent" weights multiply a vector; "bias" is added; "other" is the rest.
        values: Float32 array of the tensor's own shape.
    """

    name: str
    aliases: tuple[str, ...]
    role: Role
    values: NDArray[np.float32]

    @property
    def matrix(self) -> Matrix:
        """The weight as float32 of shape (rows, cols): a vector is one row."""
        return self.values.reshape(matrix_shape(self.values.shape))


@dataclass(frozen=True)
class Site:
    """Weights that multiply the same vector, and so may share one projection of it.

    Attributes:
        name: Name of the vector, such as "h:lstm.l0" for the output of a first layer.
        members: Names of the weights, in state-dict order; at least two.
    """

    name: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class ModelWeights:
    """All tensors of a model, taken out once.

    Attributes:
        weights: The floating-point tensors by name, in state-dict order.
        buffers: Tensors of other dtypes by name, to be stored as they are.
        sha256: Hash of all names, dtypes, shapes and values.
    """

    weights: Mapping[str, Weight]
    buffers: Mapping[str, NDArray[Any]]
    sha256: str

    @classmethod
    def of(cls, model: nn.Module) -> ModelWeights:
        """Take the tensors out of a model.

        Raises:
            ModelError: If there are no weights, or a weight is empty or not finite everywhere.
        """
        roles = _roles(model)
        tensors: dict[str, torch.Tensor] = model.state_dict(keep_vars=True)
        groups: dict[str, list[str]] = {}
        for name, first in first_names(tensors).items():
            groups.setdefault(first, []).append(name)
        weights: dict[str, Weight] = {}
        buffers: dict[str, NDArray[Any]] = {}
        digest = hashlib.sha256()
        for first, *aliases in groups.values():
            tensor = tensors[first].detach().cpu()
            digest.update(f"{first} {aliases} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
            if not tensor.is_floating_point():
                buffers |= dict.fromkeys((first, *aliases), tensor.numpy())
                continue
            values = tensor.to(torch.float32).contiguous().numpy()
            _check_finite(first, values)
            weights[first] = Weight(first, tuple(aliases), roles.get(first, "other"), values)
        if not weights:
            raise ModelError("a model needs at least one floating-point weight, but this has none")
        return cls(weights, buffers, digest.hexdigest())


def first_names(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Map every state-dict name to the first name under which the same tensor appears."""
    firsts: dict[int, str] = {}
    return {name: firsts.setdefault(id(tensor), name) for name, tensor in tensors.items()}


def _check_finite(name: str, values: NDArray[np.float32]) -> None:
    if values.size == 0:
        raise ModelError(f"weight '{name}' has no elements, shape {values.shape}")
    bad = int(values.size - np.isfinite(values).sum())
    if bad:
        raise ModelError(
            f"every weight must be finite, but '{name}' holds {bad} NaN or infinite "
            f"value{'s' * (bad > 1)} of {values.size}; repair or retrain the model"
        )


def _roles(model: nn.Module) -> dict[str, Role]:
    roles: dict[str, Role] = {}
    for prefix, module in model.named_modules():
        for parameter, _ in module.named_parameters(recurse=False):
            name = f"{prefix}.{parameter}" if prefix else parameter
            roles[name] = _role(module, parameter)
    return roles


def _role(module: nn.Module, parameter: str) -> Role:
    if "bias" in parameter:
        return "bias"
    if isinstance(module, nn.Embedding):
        return "embedding"
    if isinstance(module, nn.Linear):
        return "linear"
    if isinstance(module, nn.RNNBase) and parameter.startswith("weight_ih"):
        return "input"
    if isinstance(module, nn.RNNBase) and parameter.startswith("weight_hh"):
        return "recurrent"
    return "other"


def find_sites(model: nn.Module, run: Callable[[], object]) -> tuple[Site, ...]:
    """Find the weights that multiply the same vector, by watching a forward pass.

    Within a recurrent module, the output of a layer meets its own recurrent weight and the next
    layer's input weight. What lies beyond is seen in the data: a linear layer whose input is the
    output of a recurrent module (same memory, or equal values) belongs to the last layer's site.
    Bidirectional layers and layers with a projection are left out, since there the two vectors
    differ.

    Args:
        model: The model, in evaluation mode.
        run: Runs the model once on a batch.
    """
    outputs: dict[str, torch.Tensor] = {}
    inputs: dict[str, torch.Tensor] = {}
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, nn.RNNBase):
            hooks.append(module.register_forward_hook(_keep_output(outputs, name)))
        elif isinstance(module, nn.Linear):
            watch = _keep_input(inputs, name)
            hooks.append(module.register_forward_hook(watch, with_kwargs=True))
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    modules = dict(model.named_modules())
    readers = {
        name: [linear for linear, seen in inputs.items() if _same(seen, output)]
        for name, output in outputs.items()
    }
    firsts = first_names(model.state_dict(keep_vars=True))
    order = list(firsts)
    found = (
        (site, sorted({firsts[member] for member in members}, key=order.index))
        for name, module in modules.items()
        if isinstance(module, nn.RNNBase)
        for site, members in _recurrent_sites(name, module, readers.get(name, []))
    )
    return tuple(Site(site, tuple(members)) for site, members in found if len(members) > 1)


def _recurrent_sites(
    name: str, module: nn.RNNBase, readers: list[str]
) -> Iterator[tuple[str, list[str]]]:
    prefix = f"{name}." if name else ""
    if module.bidirectional or module.proj_size:
        return
    for layer in range(module.num_layers):
        members = [f"{prefix}weight_hh_l{layer}"]
        if layer + 1 < module.num_layers:
            members.append(f"{prefix}weight_ih_l{layer + 1}")
        else:
            members += [f"{reader}.weight" for reader in readers]
        yield f"h:{prefix}l{layer}", members


def _keep_output(store: dict[str, torch.Tensor], name: str) -> Callable[..., None]:
    def hook(module: nn.Module, args: Any, output: tuple[torch.Tensor, Any]) -> None:
        del module, args
        if isinstance(output[0], torch.Tensor):  # packed sequences are not followed
            store[name] = output[0]

    return hook


def _keep_input(store: dict[str, torch.Tensor], name: str) -> Callable[..., None]:
    def hook(
        module: nn.Module,
        args: tuple[torch.Tensor, ...],
        named: Mapping[str, torch.Tensor],
        output: Any,
    ) -> None:
        del module, output
        store[name] = args[0] if args else named["input"]

    return hook


def _same(seen: torch.Tensor, output: torch.Tensor) -> bool:
    """Whether a linear layer saw a recurrent output, whole or at some of its steps."""
    if seen.shape[-1] != output.shape[-1] or seen.numel() == 0:
        return False
    rows, last = output.reshape(-1, output.shape[-1]), seen.reshape(-1, seen.shape[-1])[-1]
    return bool((rows == last).all(dim=1).any())
