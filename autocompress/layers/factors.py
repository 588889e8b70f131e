"""Weights that multiply from their factors, and modules that run with these in place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from autocompress.layers.base import ALL, Product, adapter_of, products_of
from autocompress.layers.convolving import Convolution
from autocompress.structures import Matrix, Shape, Structure, Thin, matrix_shape, stacked_shape

Shapes = Sequence[tuple[int, ...]]


class Factors(nn.Module):
    """The factors of one weight, or of the stacked weights of a site.

    Where these are two thin factors, the right one is a projection that all weights of the site
    have in common; what was projected last is kept, so that each vector is projected once.

    Args:
        structure: What the factors are of.
        shapes: Of the weights, in the order in which they are stacked.
        values: The factors by name; whole numbers as arrays.
    """

    def __init__(
        self, structure: Structure, shapes: Shapes, values: Mapping[str, Tensor | Matrix]
    ) -> None:
        super().__init__()
        self.structure = structure
        self.shape: Shape = stacked_shape(list(shapes))
        self._members = list(_places(shapes))
        self._values: dict[str, Any] = {}
        self._thin: Thin | None = None
        self._known: tuple[Tensor, Tensor] | None = None
        self.set(values)

    def set(self, values: Mapping[str, Tensor | Matrix]) -> None:
        """Take other values for the factors, of the same shapes."""
        self._values = dict(values)
        tensors = {key: value for key, value in values.items() if isinstance(value, Tensor)}
        # Tensors that were computed are welcome among the parameters, for users' code to find.
        self._parameters.update(tensors)  # type: ignore[arg-type]
        self._thin, self._known = self.structure.thin(self._values), None

    @property
    def products(self) -> list[FromFactors]:
        """What multiplies by each of the weights."""
        return [FromFactors(self, rows, shape) for rows, shape in self._members]

    @property
    def multiplications(self) -> int:
        """How many one vector takes."""
        return self.structure.multiplications(self.shape, self._values)

    @property
    def pair(self) -> tuple[Tensor, Tensor] | None:
        """The left and the right one of two thin factors, or None if they are something else."""
        thin = self._thin
        if thin is None or len(thin.lefts) > 1 or thin.order is not None:
            return None
        return thin.lefts[0], thin.rights[0]

    @property
    def saves(self) -> bool:
        """Whether all weights can run from the factors, with fewer multiplications than decoded.

        Of several weights, each needs rows of its own.
        """
        separable = len(self._members) == 1 or self.pair is not None
        return separable and self.multiplications < self.shape[0] * self.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        """Project vectors (..., cols) to (..., rank), if there is a projection."""
        pair = self.pair
        return x if pair is None else functional.linear(x, pair[1])

    def projection(self, x: Tensor) -> Tensor:
        """Project vectors, but for those of which it is known what comes out."""
        if self._known is None or torch.is_grad_enabled():
            return self(x)  # type: ignore[no-any-return]
        vectors, projected = self._known
        like = x.shape[-1] == vectors.shape[-1] and x.numel() == vectors.numel()
        if like and torch.equal(x.reshape(vectors.shape), vectors):
            return projected.reshape(*x.shape[:-1], -1)
        return self(x)  # type: ignore[no-any-return]

    def remember(self, x: Tensor, projected: Tensor) -> None:
        """Keep what comes out for some vectors; a copy, since users may change theirs."""
        if not torch.is_grad_enabled():
            self._known = x.detach().clone(), projected

    def times(self, x: Tensor) -> Tensor:
        """Multiply vectors by all weights, where the factors are no thin pair."""
        thin = self._thin
        found: Tensor = self.structure.times(self._values, x) if thin is None else thin.times(x)
        return found

    def looked_up(self, ids: Tensor) -> Tensor:
        """Return rows of the stacked weights."""
        thin = self._thin
        found: Tensor = self.structure.rows(self._values, ids) if thin is None else thin.rows(ids)
        return found

    def decoded(self) -> Tensor:
        """Return the stacked weights, (rows, cols)."""
        matrix: Any = self.structure.reconstruct(self._values)
        return matrix  # type: ignore[no-any-return]


def _places(shapes: Shapes) -> Iterator[tuple[slice, tuple[int, ...]]]:
    first = 0
    for shape in shapes:
        last = first + matrix_shape(shape)[0]
        yield slice(first, last), shape
        first = last


class FromFactors(Product):
    """One of the weights whose factors lie upon each other."""

    def __init__(self, factors: Factors, place: slice, shape: tuple[int, ...]) -> None:
        self.factors = factors
        self._place, self._shape = place, shape

    def project(self, x: Tensor) -> Tensor:
        """Project, if there is a projection."""
        return self.factors.projection(x)

    def expand(self, z: Tensor, bias: Tensor | None = None, rows: slice = ALL) -> Tensor:
        """Multiply by the rows of the left factor, or by all factors."""
        pair = self.factors.pair
        if pair is not None:
            left = self._own(pair[0])
            return functional.linear(z, left if rows == ALL else left[rows], bias)
        y = self.factors.times(z)[..., rows]
        return y if bias is None else y + bias

    def rows(self, ids: Tensor) -> Tensor:
        """Look rows of the left factor up and multiply them by the right one."""
        pair = self.factors.pair
        if pair is not None:
            return functional.embedding(ids, self._own(pair[0])) @ pair[1]
        return self.factors.looked_up(ids)

    def convolve(self, x: Tensor, how: Convolution, bias: Tensor | None = None) -> Tensor:
        """Convolve twice where there are two thin factors, else with the decoded weight."""
        pair = self.factors.pair
        if pair is None or how.groups > 1:
            return how(x, self.weight(), bias)
        return how.thin(x, (self._own(pair[0]), pair[1]), self._shape, bias)

    def remember(self, x: Tensor, projected: Tensor) -> None:
        """Keep what comes out of the projection."""
        self.factors.remember(x, projected)

    def weight(self) -> Tensor:
        """Return the weight itself, decoded."""
        pair = self.factors.pair
        if pair is not None:
            return (self._own(pair[0]) @ pair[1]).reshape(self._shape)
        return self._own(self.factors.decoded()).reshape(self._shape)

    def _own(self, stacked: Tensor) -> Tensor:
        """Return the rows of this weight."""
        alone = self._place == slice(0, len(stacked))
        return stacked if alone else stacked[self._place]


def run_from(
    model: nn.Module, products: Mapping[str, FromFactors], *, direct: bool = False
) -> set[str]:
    """Have the modules of a model run with products from factors in place of their weights.

    A module becomes of a subclass of its own class, in which its weight is decoded when it is
    asked for: it keeps its class, attributes and methods.

    Args:
        model: Changed in place; its own copies of these weights are let go.
        products: By state-dict name.
        direct: Whether to do this only where running from products takes no longer than running
            from weights, whatever the factors are.

    Returns:
        The names of the weights that are no parameters any more.
    """
    gone: set[str] = set()
    for path, module in list(model.named_modules()):
        adapter, prefix = adapter_of(module), f"{path}." if path else ""
        if adapter is None or not adapter.can_run(module) or (direct and not adapter.is_direct):
            continue
        known = {
            name: products[f"{prefix}{name}"]
            for name in adapter.roles(module)
            if f"{prefix}{name}" in products
        }
        own = [name for name in known if name in module._parameters]
        if known:
            _become(module, known, own, adapter.namespace)
            gone.update(f"{prefix}{name}" for name in own)
    return gone


def _become(
    module: nn.Module,
    known: dict[str, FromFactors],
    own: list[str],
    namespace: Mapping[str, Any],
) -> None:
    cls, adapter = type(module), adapter_of(module)
    assert adapter is not None

    def forward(self: nn.Module, *arguments: Any, **named: Any) -> Any:
        """Compute with products in place of weights, or decode these where that is not known."""
        product = products_of(self, vars(self)["_products"])
        found = adapter.run(self, product, *arguments, **named)
        return cls.forward(self, *arguments, **named) if found is NotImplemented else found

    decoded = {name: _decoded(name) for name in own}
    members = {"forward": forward, "__doc__": cls.__doc__, "__module__": cls.__module__}
    for name in (*own, *namespace):
        module._parameters.pop(name, None)
        vars(module).pop(name, None)
    for name in own:
        module.add_module(f"{name}_factors", known[name].factors)
    vars(module)["_products"] = known
    module.__class__ = type(cls.__name__, (cls,), {**namespace, **decoded, **members})


def _decoded(name: str) -> property:
    return property(lambda module: module._products[name].weight())
