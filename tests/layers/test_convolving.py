"""What a convolution's weight multiplies, wherever it is used, and how it runs from factors."""

from __future__ import annotations

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


def used(name: str) -> tuple[Convolution, Tensor, Tensor, Tensor]:
    """Return a convolution, its input, its weight and the gradient by its output."""
    how, shape, kernel = CASES[name]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    weight = torch.randn(kernel, generator=generator, dtype=torch.float64)
    output = how(x, weight)
    return how, x, weight, torch.randn(output.shape, generator=generator, dtype=torch.float64)


def fisher(how: Convolution, x: Tensor, weight: Tensor, gradient: Tensor) -> list[Tensor]:
    """Return of each input what its own loss has for a gradient by the weight, (rows, cols)."""
    batched = x.dim() == how.dims + 2
    pairs = zip(x, gradient, strict=True) if batched else [(x, gradient)]
    found = []
    for one, back in pairs:
        kernel = weight.clone().requires_grad_()
        torch.autograd.backward(how(one, kernel), back)
        assert kernel.grad is not None
        found.append(kernel.grad.flatten(1) * (len(x) if batched else 1))
    return found


@each
def test_vectors_tell_what_errors_cost_over_all_positions(name: str) -> None:
    how, x, weight, gradient = used(name)
    gradients = torch.stack(fisher(how, x, weight, gradient))
    seen = list(how.vectors(*how.sample(x, gradient, weight), weight))
    assert len(seen) == how.groups
    for first, second, rows in seen:
        own = gradients[:, rows]
        sensitivities = second.square().sum(dim=0) * len(second)
        torch.testing.assert_close(sensitivities, own.square().mean(dim=0).sum(dim=1))
        moment = torch.einsum("nrc,nrd->cd", own, own) / own.square().sum()
        torch.testing.assert_close(first.T @ first / len(first), moment)


def test_of_many_inputs_some_stand_for_all() -> None:
    how = Convolution(2, padding=1)
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(256, 3, 6, 6, generator=generator), torch.randn(5, 3, 3, 3)
    gradient = torch.randn(256, 5, 6, 6, generator=generator) / 256
    ((first, second, _),) = how.vectors(*how.sample(x, gradient, weight), weight)
    assert len(first) == len(second) == 16 * 5
    expected = torch.stack(fisher(how, x, weight, gradient)).square().mean(dim=0).sum(dim=1)
    found = second.square().sum(dim=0) * len(second)
    torch.testing.assert_close(found, expected, rtol=0.5, atol=0)


def test_where_no_gradient_comes_back_there_are_no_vectors() -> None:
    how, x, weight, gradient = used("grouped")
    gradient[:, 3:] = 0
    seen = how.vectors(*how.sample(x, gradient, weight), weight)
    assert [rows for _, _, rows in seen] == [slice(0, 3)]


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
