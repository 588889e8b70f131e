"""The weights of a model, how they are tied, and which of them multiply the same vector."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from autocompress.errors import ModelError
from autocompress.knowledge.tensors import (
    as_array,
    as_weight,
    check_readable,
    n_not_finite,
    tensors_of,
)
from autocompress.layers.base import ALL, Plain, Role, adapter_of
from autocompress.layers.copies import as_written, plain
from autocompress.layers.memory import first_names
from autocompress.layers.watching import Watching
from autocompress.structures import Matrix, matrix_shape

_HALF, _SINGLE = 16, 32


@dataclass(frozen=True)
class Weight:
    """One parameter tensor.

    Attributes:
        name: Its state-dict name; of tied weights, the first.
        aliases: The other state-dict names under which the same tensor appears.
        role: What it does: "embedding" rows are looked up; "linear", "input" (of a recurrent
            layer) and "recurrent" weights multiply a vector, and "convolution" weights what their
            kernel covers; "bias" is added; "norm" scales or shifts what was normalised; "other"
            is the rest.
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

    @property
    def fewest_bits(self) -> int:
        """Bits for each number below which no search goes of itself; 0 where any will do.

        What scales or shifts what was normalised, and vectors of which nothing is known, are
        few numbers that matter a lot: half precision suits them, or single precision where half
        would overflow or lose digits. A scalar of unknown use stays exact.
        """
        is_vector = self.values.size == max(self.values.shape, default=1)
        if self.role != "norm" and not (self.role == "other" and is_vector):
            return 0
        if self.role == "other" and self.values.size == 1:
            return _SINGLE
        magnitudes, half = np.abs(self.values[self.values != 0]), np.finfo(np.float16)
        fits = np.all((magnitudes >= half.smallest_normal) & (magnitudes <= half.max))
        return _HALF if fits else _SINGLE

    @property
    def zero_rows(self) -> NDArray[np.bool_]:
        """Which rows are zero and stay so, such as that of padding; no vector or scalar is one."""
        if self.values.ndim < 2:
            return np.zeros(1, np.bool_)
        rows: NDArray[np.bool_] = np.logical_not(np.any(self.matrix, axis=1))
        return rows


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

    Weights are the floating-point parameters. All else is stored exactly as it is: buffers, such
    as the statistics of batch normalisation, masks and tables of positions, parameters of other
    dtypes, and parameters without elements.

    A weight that a module computes from others, as by `torch.nn.utils.parametrizations`, is known
    by the name and the value with which the module computes, and what it is made of is not
    listed. Weights are tied if they are one tensor, or lie in the same memory in the same layout.
    Views of one memory that only overlap are weights apart, each with values of its own.

    Attributes:
        weights: The weights by name, in state-dict order.
        buffers: All other tensors by name, to be stored as they are.
        sha256: Hash of all names, dtypes, shapes and values.
    """

    weights: Mapping[str, Weight]
    buffers: Mapping[str, NDArray[Any]]
    sha256: str

    @classmethod
    def of(cls, model: nn.Module) -> ModelWeights:
        """Take the tensors out of a model.

        Raises:
            ModelError: If a tensor cannot be read, there are no weights, or a weight is not
                finite everywhere.
        """
        check_readable(model)
        model = plain(model)
        roles, tensors = _roles(model), tensors_of(model)
        groups: dict[str, list[str]] = {}
        for name, first in first_names(tensors).items():
            groups.setdefault(first, []).append(name)
        weights: dict[str, Weight] = {}
        buffers: dict[str, NDArray[Any]] = {}
        digest = hashlib.sha256()
        for names in groups.values():
            first, *aliases = names
            tensor = tensors[first].detach().cpu()
            digest.update(f"{first} {aliases} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
            is_parameter = any(isinstance(tensors[name], nn.Parameter) for name in names)
            if not (is_parameter and tensor.is_floating_point() and tensor.numel()):
                buffers |= dict.fromkeys(names, as_array(first, tensor))
                continue
            values = as_weight(first, tensor)
            _check_finite(first, values)
            role: Role = next((roles[name] for name in names if name in roles), "other")
            weights[first] = Weight(first, tuple(aliases), role, values)
        if not weights:
            raise ModelError("a model needs at least one floating-point weight, but this has none")
        return cls(weights, buffers, digest.hexdigest())


def _check_finite(name: str, values: NDArray[np.float32]) -> None:
    bad = n_not_finite(torch.from_numpy(values))
    if bad:
        raise ModelError(
            f"every weight must be finite, but '{name}' holds {bad} NaN or infinite "
            f"value{'s' * (bad > 1)} of {values.size}; repair or retrain the model"
        )


def _roles(model: nn.Module) -> dict[str, Role]:
    """Tell by every name of a parameter what it does; most know it by their layer's adapter."""
    parameters = model.named_parameters(remove_duplicate=False)
    roles: dict[str, Role] = {
        name: "bias" if "bias" in name.rpartition(".")[2] else "other" for name, _ in parameters
    }
    for prefix, module in model.named_modules():
        adapter = adapter_of(module)
        for key, role in (adapter.roles(module) if adapter else {}).items():
            name = _within(prefix, key)
            if name in roles:
                roles[name] = role
    return roles


def find_sites(model: nn.Module, run: Callable[[], object]) -> tuple[Site, ...]:
    """Find the weights that multiply the same vector, by watching a forward pass.

    Layer adapters name the vectors within a module. What lies beyond is seen in the data: a
    weight whose input is the output of such a module (same memory, or equal values) belongs to
    its last site.

    Args:
        model: The model, in evaluation mode.
        run: Runs the model once on a batch.
    """
    found: list[tuple[str, list[str]]] = []
    outputs: list[tuple[list[str], list[torch.Tensor]]] = []
    tensors = tensors_of(model)
    spies = {name: _Spy(tensor) for name, tensor in tensors.items() if tensor.dim() == 2}
    hooks = []
    for path, module in model.named_modules():
        adapter = adapter_of(module)
        sites = adapter.sites(module) if adapter and adapter.can_run(module) else []
        for site, members in sites:
            names = [_within(path, member) for member in members]
            found.append((f"h:{_within(path, site)}", names))
            for name in names:
                spies.pop(name, None)
        if adapter and sites:
            seen: list[torch.Tensor] = []
            outputs.append((found[-1][1], seen))
            keep = _keep_output(seen, adapter.emitted)
            hooks.append(module.register_forward_hook(keep, prepend=True))
    try:
        with torch.no_grad(), as_written(), Watching(model, spies):
            run()
    finally:
        for hook in hooks:
            hook.remove()
    for site_members, seen in outputs:
        readers = (name for name, spy in spies.items() if spy.has_seen(seen))
        site_members.extend(readers)
    firsts = first_names(tensors)
    order = list(firsts)
    sites_found = (
        (site, sorted({firsts[name] for name in members if name in firsts}, key=order.index))
        for site, members in found
    )
    return tuple(Site(site, tuple(members)) for site, members in sites_found if len(members) > 1)


def _within(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _keep_output(
    store: list[torch.Tensor], emitted: Callable[[nn.Module, Any], torch.Tensor | None]
) -> Callable[..., None]:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        del args
        vectors = emitted(module, output)
        if vectors is not None:
            store.append(vectors)

    return hook


class _Spy(Plain):
    """A weight that keeps what it multiplies."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__(weight)
        self._seen: list[torch.Tensor] = []

    def expand(
        self, z: torch.Tensor, bias: torch.Tensor | None = None, rows: slice = ALL
    ) -> torch.Tensor:
        """Multiply by the weight."""
        self._seen.append(z)
        return super().expand(z, bias, rows)

    def has_seen(self, outputs: list[torch.Tensor]) -> bool:
        """Whether it multiplied one of these vectors."""
        return any(_same(seen, output) for seen in self._seen for output in outputs)


def _same(seen: torch.Tensor, output: torch.Tensor) -> bool:
    """Whether a weight met a layer's output, whole or at some of its steps."""
    if seen.shape[-1] != output.shape[-1] or seen.numel() == 0:
        return False
    rows, last = output.reshape(-1, output.shape[-1]), seen.reshape(-1, seen.shape[-1])[-1]
    return bool((rows == last).all(dim=1).any())
