"""What a layer adapter is: all that is known of one PyTorch layer type."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from autocompress.layers.convolving import Convolution
from autocompress.registry import Registry

Role = Literal["embedding", "linear", "convolution", "input", "recurrent", "bias", "norm", "other"]
ALL = slice(None)


class Product(ABC):
    """A weight of shape (rows, cols), as something that multiplies vectors.

    A product may begin with a projection, which several weights of one vector can share: then
    `project` is done once, and each of them goes on with `expand`.
    """

    def project(self, x: Tensor) -> Tensor:
        """Do the first part of a product: (..., cols) to what `expand` takes. Usually nothing."""
        return x

    @abstractmethod
    def expand(self, z: Tensor, bias: Tensor | None = None, rows: slice = ALL) -> Tensor:
        """Do the rest of it, for all rows or some: to (..., rows); and add a bias."""

    def times(self, x: Tensor, bias: Tensor | None = None, rows: slice = ALL) -> Tensor:
        """Multiply vectors (..., cols) by the weight, or by some rows of it, and add a bias."""
        return self.expand(self.project(x), bias, rows)

    @abstractmethod
    def rows(self, ids: Tensor) -> Tensor:
        """Return rows of the weight, (..., cols), for int64 ids of any shape."""

    @abstractmethod
    def convolve(self, x: Tensor, how: Convolution, bias: Tensor | None = None) -> Tensor:
        """Convolve (batch, channels, ...) with the weight, whose kernel is in its columns."""

    def remember(self, x: Tensor, projected: Tensor) -> None:  # noqa: B027 (nothing by default)
        """Take note of what `project` returns for vectors that others may multiply too."""


class Plain(Product):
    """A weight that is a tensor."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def expand(self, z: Tensor, bias: Tensor | None = None, rows: slice = ALL) -> Tensor:
        """Multiply by the weight."""
        weight = self.weight.flatten(1)
        return functional.linear(z, weight if rows == ALL else weight[rows], bias)

    def rows(self, ids: Tensor) -> Tensor:
        """Look the rows up."""
        return self.weight[ids]

    def convolve(self, x: Tensor, how: Convolution, bias: Tensor | None = None) -> Tensor:
        """Convolve with the weight."""
        return how(x, self.weight, bias)

    def across(self, x: Tensor) -> Tensor:
        """Multiply vectors (..., rows) by the weight from the other side: to (..., cols)."""
        return x @ self.weight


Products = Callable[[str], Product]
"""From the name of a weight within its module to what stands for it."""


def products_of(module: nn.Module, known: Mapping[str, Product]) -> Products:
    """Return what is known by name; every other weight of a module stands for itself."""

    def product(name: str) -> Product:
        return known[name] if name in known else Plain(attrgetter(name)(module))

    return product


class LayerAdapter(ABC):
    """Knows one PyTorch layer type; registered in `LAYERS`, without a state of its own.

    The weights that an adapter names are those that multiply vectors, or whose rows are looked
    up, each of shape (rows, cols) with rows as outputs, or with a kernel that is convolved
    (`Convolution` says which way around); and those of the role "norm", which scale and shift
    and always are what they are. All uses of a layer go through `run`,
    which computes what the layer's own `forward` does with anything that multiplies in place of
    its weights: with weights that keep account of what they meet, with factors that are stored,
    with factors in training.

    Attributes:
        layer: The layer type.
        is_direct: Whether `run` does nothing but one product, look-up or convolution, by
            `functional.linear`, `embedding`, `bilinear`, `conv2d` and the like: then it takes no
            longer than `forward`, and is seen wherever these functions are called.
        namespace: What a subclass of the layer needs besides a `forward`, where weights are no
            parameters of it.
    """

    layer: ClassVar[type[nn.Module]]
    is_direct: ClassVar[bool] = False
    namespace: ClassVar[Mapping[str, Any]] = {}

    @abstractmethod
    def roles(self, module: nn.Module) -> dict[str, Role]:
        """Tell by name, as in "weight", what each weight of a module does."""

    @abstractmethod
    def run(self, module: nn.Module, product: Products, *arguments: Any, **named: Any) -> Any:
        """Compute what the module's own `forward` does in evaluation mode.

        Returns:
            The same as `forward`, or NotImplemented if these arguments are not understood.
        """

    def can_run(self, module: nn.Module) -> bool:
        """Whether `run` knows all options of a module, which computes as the layer type does."""
        own = "forward" not in vars(module)
        return own and type(module).forward is self.layer.forward

    def rewrites(self, module: nn.Module) -> bool:
        """Whether `forward` changes the weights, for all that are tied to them too."""
        del module
        return False

    def sites(self, module: nn.Module) -> list[tuple[str, tuple[str, ...]]]:
        """Name the vectors within a module, with the weights that multiply each of them."""
        del module
        return []

    def emitted(self, module: nn.Module, output: Any) -> Tensor | None:
        """Return the vectors of the last site where they leave the module, (..., cols)."""
        del module, output
        return None


LAYERS: Registry[type[LayerAdapter]] = Registry("layer", "autocompress.layers")
"""All layer adapters by name; a new one is a file that registers its class here."""


def adapter_of(module: nn.Module) -> LayerAdapter | None:
    """Return the adapter of the layer type that a module is, or derives from most closely."""
    adapters = {adapter.layer: adapter for adapter in LAYERS.values()}
    return next((adapters[cls]() for cls in type(module).__mro__ if cls in adapters), None)


def parameter_names(module: nn.Module, names: Mapping[str, Any]) -> list[str]:
    """Return those names, as in "out_proj.weight", under which a module has parameters."""
    own: dict[str, torch.nn.Parameter] = dict(module.named_parameters(remove_duplicate=False))
    return [name for name in names if name in own]
