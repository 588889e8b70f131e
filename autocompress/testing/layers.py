"""What must hold for every layer adapter."""

from __future__ import annotations

import copy
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import torch
from torch import Tensor, nn

from autocompress.encoding.compress import compress
from autocompress.engines.torch import load
from autocompress.layers.base import ALL, LAYERS, LayerAdapter, Plain, Product, Role, adapter_of
from autocompress.layers.convolving import Convolution
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import Float32
from autocompress.structures import Dense, LowRank, Structure, matrix_shape
from autocompress.testing import samples
from autocompress.testing.rules import (
    arguments,
    check_outputs,
    require,
    state_of,
    tensors_of,
    untouched,
)

_FACTOR = 0.5


def check_layer(adapter: LayerAdapter, module: nn.Module, batch: Any) -> None:
    """Check a layer adapter on a module that it knows.

    Args:
        adapter: What is checked.
        module: Of the adapter's layer type, with options that it can run.
        batch: What the module's `forward` takes: a tuple of arguments, or the only one.

    Raises:
        AssertionError: If a rule is broken.
    """
    name = type(adapter).__name__
    require(type(adapter) in LAYERS.values(), f"{name} must be registered in LAYERS")
    found = type(adapter_of(module))
    require(found is type(adapter), f"{name} must be the adapter of its layer", found=found)
    module, given = copy.deepcopy(module).eval(), arguments(batch)
    before = state_of(module)
    with untouched(name, batch=given), torch.no_grad():
        weights = _weights(adapter, module)
        require(
            adapter.can_run(module) is bool(weights),
            f"{name} must know how to run the module, unless it only scales and shifts",
        )
        if not weights:
            return
        _check_run(adapter, module, given, weights)
        _check_uses(adapter, module, given, weights)
        _check_sites(adapter, module, given, weights)
    _check_gradients(adapter, copy.deepcopy(module), given, weights)
    require(state_of(module) == before, f"{name} must leave the module as it is")
    _check_file(module, given, weights)


def _weights(adapter: LayerAdapter, module: nn.Module) -> dict[str, Tensor]:
    roles, weights = adapter.roles(module), dict[str, Tensor]()
    require(roles, "`roles` must name the weights of the module")
    for name, role in roles.items():
        require(role in get_args(Role), f"the role of '{name}' must be known", role=role)
        parameters = dict(module.named_parameters(remove_duplicate=False))
        require(name in parameters, f"'{name}' must be a parameter", parameters=list(parameters))
        if role == "norm":
            continue  # multiplies no vectors, and is not replaced
        weights[name] = parameters[name]
        require(weights[name].dim() >= 2, f"'{name}' must be a matrix", shape=weights[name].shape)
    return weights


class _Counting(Plain):
    """Counts how often a weight is used, and what it meets."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__(weight)
        self.uses = 0
        self.misfits: list[object] = []

    def project(self, x: Tensor) -> Tensor:
        """Take note of vectors."""
        self._see(x.shape[-1] == self.weight[0].numel(), x.shape)
        return super().project(x)

    def expand(self, z: Tensor, bias: Tensor | None = None, rows: slice = ALL) -> Tensor:
        """Take note of vectors."""
        self._see(z.shape[-1] == self.weight[0].numel(), z.shape)
        return super().expand(z, bias, rows)

    def rows(self, ids: Tensor) -> Tensor:
        """Take note of ids."""
        self._see(not ids.is_floating_point(), ids.dtype)
        return super().rows(ids)

    def convolve(self, x: Tensor, how: Convolution, bias: Tensor | None = None) -> Tensor:
        """Take note of channels."""
        channels = self.weight.shape[0 if how.is_transposed else 1]
        channels *= 1 if how.is_transposed else how.groups
        self._see(x.dim() > how.dims and x.shape[-how.dims - 1] == channels, x.shape)
        return super().convolve(x, how, bias)

    def _see(self, fits: bool, what: object) -> None:
        self.uses += 1
        self.misfits += [] if fits else [what]


def _check_run(
    adapter: LayerAdapter, module: nn.Module, given: tuple[Any, ...], weights: dict[str, Tensor]
) -> None:
    counting = {name: _Counting(weight) for name, weight in weights.items()}
    ours = adapter.run(module, counting.__getitem__, *given)
    require(ours is not NotImplemented, "`run` must know what it is given", arguments=given)
    theirs = module(*given)
    check_outputs(ours, theirs, "`run` must give what `forward` gives")
    require(type(ours) is type(theirs), "`run` must give what `forward` gives", type=type(ours))
    for name, product in counting.items():
        require(product.uses, f"`run` must multiply by the product of '{name}'")
        require(
            not product.misfits,
            f"'{name}' must meet vectors of its width, or whole numbers that name rows",
            got=product.misfits,
            weight=tuple(weights[name].shape),
        )


def _check_uses(
    adapter: LayerAdapter, module: nn.Module, given: tuple[Any, ...], weights: dict[str, Tensor]
) -> None:
    """Require that products take the place of weights wherever these are used."""
    for name, weight in weights.items():
        changed = copy.deepcopy(module)
        attrgetter(name)(changed).copy_(_FACTOR * weight)
        products: dict[str, Product] = {one: Plain(tensor) for one, tensor in weights.items()}
        products[name] = Plain(_FACTOR * weight)
        ours = adapter.run(module, products.__getitem__, *given)
        check_outputs(ours, changed(*given), f"`run` must use the product of '{name}' everywhere")


def _check_sites(
    adapter: LayerAdapter, module: nn.Module, given: tuple[Any, ...], weights: dict[str, Tensor]
) -> None:
    sites = adapter.sites(module)
    for site, members in sites:
        known = all(member in weights for member in members) and members
        require(known, f"site '{site}' must name weights of the module", members=members)
        widths = {weights[member][0].numel() for member in members}
        require(len(widths) == 1, f"weights of site '{site}' must have one width", widths=widths)
    emitted = adapter.emitted(module, module(*given))
    if emitted is not None and sites:
        fits = emitted.shape[-1] == weights[sites[-1][1][0]].shape[1]
        require(fits, "`emitted` must give the vectors of the last site", shape=emitted.shape)


def _check_gradients(
    adapter: LayerAdapter, module: nn.Module, given: tuple[Any, ...], weights: dict[str, Tensor]
) -> None:
    trained = {name: weight.detach().clone().requires_grad_() for name, weight in weights.items()}
    products = {name: Plain(weight) for name, weight in trained.items()}
    outputs = (adapter.run(module, products.__getitem__, *given), module(*given))
    own = [attrgetter(name)(module) for name in weights]
    ours, theirs = (
        torch.autograd.grad(_scalar(output), inputs, allow_unused=True)
        for output, inputs in zip(outputs, (list(trained.values()), own), strict=True)
    )
    for name, found, expected in zip(weights, ours, theirs, strict=True):
        require(found is not None, f"gradients must reach the product of '{name}'")
        rule = f"gradients of '{name}' must be those of `forward`"
        check_outputs(found, expected, rule, 1e-3)


def _scalar(output: Any) -> Tensor:
    """Return a number that depends on all of an output."""
    parts = [one.square().sum() for one in tensors_of(output)]
    return torch.stack(parts).sum()


class _Whole(nn.Module):
    """A model that is one layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *given: Any) -> Any:
        return self.layer(*given)


def _check_file(module: nn.Module, given: tuple[Any, ...], weights: dict[str, Tensor]) -> None:
    """Require that the layer runs from the factors that are stored as from decoded weights."""
    model = _Whole(copy.deepcopy(module))
    treatments = {}
    for name, tensor in model.state_dict().items():
        low_rank = LowRank(rank=1)
        own = name.removeprefix("layer.") in weights and tensor.dim() > 1
        thin = own and low_rank.misfit(matrix_shape(tuple(tensor.shape))) is None
        structure: Structure = low_rank if thin else Dense()
        if tensor.is_floating_point():
            treatments[name] = Treatment(structure=structure, precision=Float32())
    with TemporaryDirectory() as folder, torch.no_grad():
        plan = CompressionPlan(treatments=treatments)
        path = Path(folder) / "model.acz"
        compress(model, plan, samples.Running(given), path)
        decoded = load(path, copy.deepcopy(model))(*given)
        factored = load(path, copy.deepcopy(model), factored=True)(*given)
        check_outputs(factored, decoded, "a layer must run from factors as from decoded weights")
