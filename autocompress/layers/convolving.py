"""How PyTorch's functions convolve, and what their weights multiply at each position."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Sizes = int | Sequence[int]

_FUNCTIONS: Mapping[tuple[int, bool], Callable[..., Tensor]] = {
    (1, False): functional.conv1d,
    (2, False): functional.conv2d,
    (3, False): functional.conv3d,
    (1, True): functional.conv_transpose1d,
    (2, True): functional.conv_transpose2d,
    (3, True): functional.conv_transpose3d,
}
_KINDS = {function: kind for kind, function in _FUNCTIONS.items()}
_OPTIONS = ("stride", "padding", "dilation", "groups")
_TRANSPOSED_OPTIONS = ("stride", "padding", "output_padding", "groups", "dilation")
_MOST_NUMBERS, _MOST = 2**22, 16
"""Of the gradients by a weight of single inputs that are held at once: numbers, and inputs."""


@dataclass(frozen=True)
class Convolution:
    """A call of `functional.conv2d` or of one like it, but for input, weight and bias.

    The weight of a convolution, of shape (outputs, inputs / groups, ...), is a matrix of outputs
    by inputs / groups * kernel: it multiplies what the kernel covers at each position. That of a
    transposed one, of shape (inputs, outputs / groups, ...), has one row for each input, which
    is multiplied by one number at each position, as rows of an embedding are looked up.

    Attributes:
        dims: How many axes are convolved, 1 to 3.
        is_transposed: Whether it is the transposed function.
        stride: As PyTorch takes it, like all that follow.
        padding: Numbers, "same" or "valid".
        output_padding: Of transposed functions.
        groups: In how many groups inputs and outputs fall.
        dilation: Of the kernel.
    """

    dims: int
    is_transposed: bool = False
    stride: Sizes = 1
    padding: Sizes | str = 0
    output_padding: Sizes = 0
    groups: int = 1
    dilation: Sizes = 1

    @classmethod
    def of(cls, function: object, options: Sequence[Any], named: Mapping[str, Any]) -> Convolution:
        """Understand a call of a function that `is_convolution` knows.

        Args:
            function: The function.
            options: What it is given after input, weight and bias.
            named: What it is given by name, among others.
        """
        dims, is_transposed = _KINDS[function]  # type: ignore[index]
        names = _TRANSPOSED_OPTIONS if is_transposed else _OPTIONS
        given = dict(zip(names, options, strict=False))
        return cls(dims, is_transposed, **given, **{n: named[n] for n in names if n in named})

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Convolve (batch, channels, ...) or (channels, ...) with a weight."""
        names = _TRANSPOSED_OPTIONS if self.is_transposed else _OPTIONS
        options = {name: getattr(self, name) for name in names}
        return _FUNCTIONS[self.dims, self.is_transposed](x, weight, bias, **options)

    def thin(
        self, x: Tensor, pair: tuple[Tensor, Tensor], shape: Sequence[int], bias: Tensor | None
    ) -> Tensor:
        """Convolve twice, with the thin factors of a weight; groups must be 1.

        Args:
            x: As in a call.
            pair: Of shapes (rows, rank) and (rank, cols).
            shape: Of the weight.
            bias: Or None.
        """
        left, right = pair
        kernel = right.reshape(-1, *shape[1:])
        pointwise = _FUNCTIONS[self.dims, False]
        ones = (1,) * self.dims
        if self.is_transposed:
            return self(pointwise(x, left.mT.reshape(-1, shape[0], *ones)), kernel, bias)
        return pointwise(self(x, kernel), left.reshape(shape[0], -1, *ones), bias)

    def sample(self, x: Tensor, gradient: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return some inputs of a batch, and the gradients by their outputs.

        The loss is taken to be the mean over the batch, of which each input has a loss of its
        own. Gradients are so scaled that their squares add up to the mean over those losses.

        Args:
            x: The input.
            gradient: Of the loss, by the output.
            weight: The weight; the larger it is, the fewer inputs there are.
        """
        if x.dim() == self.dims + 1:
            x, gradient = x[None], gradient[None]
        most = min(max(_MOST_NUMBERS // weight.numel(), 1), _MOST)
        stride = max(1, -(-len(x) // most))
        precise = torch.promote_types(x.dtype, torch.float32)
        some, back = x[::stride].to(precise), gradient[::stride].to(precise)
        return some.clone(), back * (len(x) / len(back) ** 0.5)

    def vectors(
        self, x: Tensor, gradient: Tensor, weight: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, slice]]:
        """Yield vectors whose second moments tell what errors in a weight cost.

        An error meets all positions of an input alike, and what it does to them adds up. So what
        counts is the gradient by the weight of each input's own loss. The Kronecker product of
        what its rows and its columns amount to stands for the Fisher information, as in [1].

        Args:
            x: Inputs, as `sample` gives them.
            gradient: By their outputs, likewise.
            weight: The weight.

        Yields:
            For each group vectors (n, cols) and (n, rows of the group), and the rows: the mean
            outer product of the first ones is the moment, of trace one, and n times the sum of
            squares of the second ones the sensitivity of the rows.

        References:
            [1] V. Gupta, T. Koren, Y. Singer. Shampoo: Preconditioned Stochastic Tensor
                Optimization. ICML 2018, arXiv 1802.09568.
        """
        each = self._gradients(x, gradient, weight)
        n_rows = len(weight) // self.groups
        for group in range(self.groups):
            rows = slice(group * n_rows, (group + 1) * n_rows)
            own = each[:, rows]
            first, squares = own.flatten(0, 1), own.square().sum(dim=2)
            energy, n = squares.sum(), len(own) * n_rows
            if energy > 0:
                second = (squares / (n * n_rows)).sqrt().repeat_interleave(n_rows, dim=0)
                whose = rows if self.groups > 1 else slice(None)
                yield first * (n / energy).sqrt(), second, whose

    def _gradients(self, x: Tensor, gradient: Tensor, weight: Tensor) -> Tensor:
        """Return the gradients by the weight of each input, (inputs, rows, cols)."""
        found: list[Tensor] = []
        with torch.enable_grad():
            kernel = weight.detach().to(x.dtype).requires_grad_()
            for one, back in zip(x, gradient, strict=True):
                found += torch.autograd.grad(self(one[None], kernel), kernel, back[None])
        return torch.stack(found).flatten(2)


def is_convolution(function: object) -> bool:
    """Whether a function is one of PyTorch's convolutions."""
    return function in _KINDS
