"""What a convolution's weight multiplies, wherever it is used, and how it runs from factors."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from autocompress.layers.base import Plain
from autocompress.layers.convolving import Convolution, is_convolution
from autocompress.layers.watching import Watching

CASES: dict[str, tuple[Convolution, tuple[int, ...], tuple[int, ...]]] = {
    "strided": (Convolution(2, stride=3), (1, 4, 11, 9), (6, 4, 3, 2)),
    "grouped": (
        Convolution(2, stride=2, padding=1, dilation=2, groups=2),
        (3, 4, 11, 9),
        (6, 2, 3, 2),
    ),
    "same": (Convolution(1, padding="same", dilation=2), (3, 4, 11), (6, 4, 3)),
    "three axes": (Convolution(3, padding=(1, 0, 2)), (2, 3, 4, 5, 6), (4, 3, 2, 2, 3)),
    "transposed": (
        Convolution(2, is_transposed=True, stride=2, padding=1, output_padding=1, groups=2),
        (3, 4, 5, 6),
        (4, 3, 3, 3),
    ),
    "unbatched": (Convolution(1, is_transposed=True, stride=3, dilation=2), (4, 9), (4, 3, 3)),
}
each = pytest.mark.parametrize("name", CASES)


def used(name: str, batch: int = 1) -> tuple[Convolution, Tensor, Tensor, Tensor]:
    """Return a convolution, its input, its weight after a backward pass, and the gradient."""
    how, shape, kernel = CASES[name]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64).repeat_interleave(batch, 0)
    weight = torch.randn(kernel, generator=generator, dtype=torch.float64, requires_grad=True)
    y = how(x, weight)
    gradient = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    torch.autograd.backward(y, gradient)
    return how, x, weight, gradient


@each
def test_vectors_times_gradients_are_the_gradient_of_the_weight(name: str) -> None:
    how, x, weight, gradient = used(name)
    batch = len(x) if x.dim() == how.dims + 2 else 1
    found = torch.zeros(len(weight), math.prod(weight.shape[1:]), dtype=torch.float64)
    for first, second, rows in how.vectors(x, gradient, weight.shape, 0):
        found[rows] += second.T @ first * math.sqrt(len(first) / batch)
    assert weight.grad is not None
    torch.testing.assert_close(found, weight.grad.flatten(1))


def test_of_many_positions_some_are_drawn_which_tell_the_same() -> None:
    how = Convolution(2, padding=1)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 3, 64, 64, generator=generator) + 1
    gradient = torch.randn(8, 5, 64, 64, generator=generator) * torch.arange(1.0, 6)[:, None, None]

    def told(seed: int) -> tuple[Tensor, Tensor]:
        ((first, second, _),) = how.vectors(x, gradient, (5, 3, 3, 3), seed)
        assert len(first) == len(second) == 4096
        return first.T @ first / len(first), second.square().sum(dim=0) * len(second)

    assert all(torch.equal(a, b) for a, b in zip(told(0), told(0), strict=True))
    assert not torch.equal(told(0)[0], told(1)[0])
    moment, rows = told(0)
    every = functional.unfold(x, 3, padding=1).transpose(0, 1).flatten(1)
    torch.testing.assert_close(moment, every @ every.T / every.shape[1], rtol=0.1, atol=0.1)
    torch.testing.assert_close(rows, 8 * gradient.square().sum(dim=(0, 2, 3)), rtol=0.1, atol=0)


@each
def test_thin_factors_convolve_as_their_product(name: str) -> None:
    how, x, weight, _ = used(name)
    if how.groups > 1:
        return
    left, right = torch.randn(len(weight), 2).double(), torch.randn(2, weight[0].numel()).double()
    bias = torch.randn(how(x, weight).shape[-how.dims - 1]).double()
    expected = how(x, (left @ right).reshape(weight.shape), bias)
    found = how.thin(x, (left, right), tuple(weight.shape), bias)
    torch.testing.assert_close(found, expected)


class Seen(Plain):
    """Remembers how it was called."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__(weight)
        self.calls: list[Any] = []

    def convolve(self, x: Tensor, how: Convolution, bias: Tensor | None = None) -> Tensor:
        self.calls.append(how)
        return super().convolve(x, how, bias)


def test_convolutions_are_seen_in_layers_subclasses_and_by_function() -> None:
    class Scaled(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect")
            self.scaled = Scaled(2, 2, 3, padding="same", bias=False)
            self.kernel = nn.Parameter(torch.randn(2, 2, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            x = self.scaled(self.layer(x))
            x = functional.conv2d(x, self.kernel, None, 2, padding=1)
            return functional.conv_transpose2d(x, self.kernel, stride=2, dilation=1)

    model, x = Model(), torch.randn(3, 2, 8, 8)
    tensors = model.state_dict(keep_vars=True)
    products = {name: Seen(tensor) for name, tensor in tensors.items() if tensor.dim() > 1}
    with Watching(model, products):
        found = model(x)
    assert torch.equal(found, model(x))
    assert {name: len(product.calls) for name, product in products.items()} == {
        "layer.weight": 1, "scaled.weight": 1, "kernel": 2,
    }  # fmt: skip
    first, second = products["kernel"].calls
    assert (first.stride, first.padding, first.is_transposed) == (2, 1, False)
    assert (second.stride, second.padding, second.is_transposed) == (2, 0, True)
    assert is_convolution(functional.conv3d)
    assert not is_convolution(functional.linear)
