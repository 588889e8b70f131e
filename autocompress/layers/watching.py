"""Watching what the weights of a model meet, while the model runs as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from autocompress.layers.base import LayerAdapter, Plain, adapter_of, products_of
from autocompress.layers.bilinear import pairs
from autocompress.layers.convolving import Convolution, is_convolution

_MATMUL = (torch.matmul, torch.mm, torch.Tensor.matmul, torch.Tensor.mm)
_ADDMM = (torch.addmm, torch.Tensor.addmm)


class Watching(TorchFunctionMode):
    """While it is entered, products take the place of a model's weights.

    Calls of `functional.linear`, `embedding`, `bilinear`, of convolutions and of `@` with a known
    weight, or for `@` its transpose, are seen wherever they stand: in PyTorch's layers, in
    subclasses of them, in the user's own code. Of layers
    that do more than that, such as recurrent ones, inner states are out of sight: a hook
    computes their output once more, by their adapter, and hands it on in place of their own. If
    the two differ, or the adapter does not know what is asked for, their own output stays, and
    their weights are not watched.

    Nothing of the model is replaced; hooks go when the object is left.

    Args:
        model: What runs. Watching it in training mode, without dropout in it, is possible too.
        products: By state-dict name what takes the place of a weight; tied weights by each name.

    Attributes:
        unwatched: Names of weights that some layer used in a way that could not be followed.
    """

    def __init__(self, model: nn.Module, products: Mapping[str, Plain]) -> None:
        super().__init__()
        self.unwatched: set[str] = set()
        tensors = model.state_dict(keep_vars=True)
        # With the tensors, so that no other one gets their ids.
        self._known = {id(tensors[name]): (tensors[name], products[name]) for name in products}
        self._inside: list[nn.Module] = []
        self._handles: list[RemovableHandle] = []
        self._layers = list(_layers(model, products))

    def __enter__(self) -> Watching:
        for prefix, module, adapter, products in self._layers:
            self._hook(prefix, module, adapter, products)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See each call of a function of PyTorch; within, calls are not seen."""
        kwargs = kwargs or {}
        if self._inside:
            return func(*args, **kwargs)
        if func is functional.linear:
            return self._linear(*args, **kwargs)
        if func is functional.embedding:
            return self._embedding(*args, **kwargs)
        if func is functional.bilinear:
            return self._bilinear(*args, **kwargs)
        if is_convolution(func):
            return self._convolve(func, *args, **kwargs)
        if func in _MATMUL and not kwargs:
            found = self._matmul(*args)
            return func(*args) if found is None else found
        if func in _ADDMM and not kwargs:
            found = self._matmul(*args[1:])
            return func(*args) if found is None else args[0] + found
        return func(*args, **kwargs)

    def _matmul(self, x: Any, weight: Any) -> Tensor | None:
        """Multiply by a matrix that is known, or by its transpose; None if it is neither."""
        if not isinstance(x, Tensor) or not isinstance(weight, Tensor) or weight.dim() != 2:
            return None
        product = self._product(weight)
        if product is not None:
            return product.across(x)
        base = weight._base
        product = None if base is None else self._product(base)
        if base is None or product is None or base.dim() != 2:
            return None
        turned = base.mT
        same = weight.shape == turned.shape and weight.stride() == turned.stride()
        return product.times(x) if same and weight.data_ptr() == base.data_ptr() else None

    def _product(self, weight: Tensor) -> Plain | None:
        return self._known[id(weight)][1] if id(weight) in self._known else None

    def _linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        product = self._product(weight)
        if product is None:
            return functional.linear(input, weight, bias)
        return product.times(input, bias)

    def _embedding(self, input: Tensor, weight: Tensor, *more: Any, **named: Any) -> Tensor:
        product = self._product(weight)
        max_norm = more[1] if len(more) > 1 else named.get("max_norm")
        if product is None or max_norm is not None:
            return functional.embedding(input, weight, *more, **named)
        return product.rows(input)

    def _bilinear(
        self, input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        product = self._product(weight)
        if product is None:
            return functional.bilinear(input1, input2, weight, bias)
        return product.times(pairs(input1, input2), bias)

    def _convolve(
        self,
        function: Callable[..., Tensor],
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        *options: Any,
        **named: Any,
    ) -> Tensor:
        product = self._product(weight)
        if product is None:
            return function(input, weight, bias, *options, **named)
        return product.convolve(input, Convolution.of(function, options, named), bias)

    def _hook(
        self, prefix: str, module: nn.Module, adapter: LayerAdapter, known: dict[str, Plain]
    ) -> None:
        """Compute the output of a layer once more, before anyone else has seen it."""

        def enter(module: nn.Module, arguments: Any) -> None:
            del arguments
            self._inside.append(module)

        def leave(module: nn.Module, arguments: Any, named: Any, output: Any) -> Any:
            if module in self._inside:
                self._inside.remove(module)
            if output is None or self._inside:
                return None
            was_training, module.training = module.training, False
            self._inside.append(module)  # products may use the weights that they stand for
            try:
                product = products_of(module, known)
                again = adapter.run(module, product, *arguments, **named)
            finally:
                module.training = was_training
                self._inside.remove(module)
            # Dropout makes the two differ.
            if again is not NotImplemented and (was_training or _agree(again, output)):
                return again
            self.unwatched.update(f"{prefix}{name}" for name in known)
            return None

        self._handles += [
            module.register_forward_pre_hook(enter),
            module.register_forward_hook(leave, prepend=True, with_kwargs=True, always_call=True),
        ]


def _layers(
    model: nn.Module, products: Mapping[str, Plain]
) -> Iterator[tuple[str, nn.Module, LayerAdapter, dict[str, Plain]]]:
    """Yield the layers whose output has to be computed once more, with their products."""
    for path, module in model.named_modules():
        adapter, prefix = adapter_of(module), f"{path}." if path else ""
        if adapter is None or adapter.is_direct or not adapter.can_run(module):
            continue
        known = {
            name: products[f"{prefix}{name}"]
            for name in adapter.roles(module)
            if f"{prefix}{name}" in products
        }
        if known:
            yield prefix, module, adapter, known


def _agree(ours: Any, theirs: Any) -> bool:
    """Whether two outputs are the same but for rounding."""
    mine, other = list(_tensors(ours)), list(_tensors(theirs))
    return len(mine) == len(other) and all(map(_close, mine, other))


def _close(mine: Tensor, other: Tensor) -> bool:
    if mine.shape != other.shape or mine.dtype != other.dtype or not other.numel():
        return mine.shape == other.shape and mine.dtype == other.dtype
    if not other.is_floating_point():
        return torch.equal(mine, other)
    tolerance = torch.finfo(other.dtype).eps ** 0.5
    scale = float(other.detach().abs().nan_to_num(posinf=0.0).max())
    return torch.allclose(mine, other, rtol=tolerance, atol=tolerance * scale, equal_nan=True)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)
