"""How PyTorch's functions convolve, and what their weights multiply at each position."""

from __future__ import annotations

import math
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
_MOST_NUMBERS, _FEWEST, _MOST = 2**20, 256, 4096
"""Of the vectors by which a weight is multiplied in one call: numbers, and vectors."""


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

    def vectors(
        self, x: Tensor, gradient: Tensor, shape: Sequence[int], seed: int
    ) -> Iterator[tuple[Tensor, Tensor, slice]]:
        """Yield what the weight meets at some positions, drawn at random by a seed.

        Of all positions in a batch those are taken that some megabytes hold. The loss is taken
        to be the mean over the batch, of which each input has a loss of its own [1].

        Args:
            x: The input.
            gradient: Of the loss, by the output.
            shape: Of the weight.
            seed: Of the positions.

        Yields:
            For each group what multiplies its rows, (vectors, cols), the gradients of the rows'
            outputs, (vectors, rows of the group), and the rows. Of transposed functions, which
            multiply from the other side, the gradients that the columns meet come first, and
            the rows' inputs second.

        References:
            [1] R. Grosse, J. Martens. A Kronecker-factored approximate Fisher matrix for
                convolution layers. ICML 2016, arXiv 1602.01407.
        """
        wide, narrow = (gradient, x) if self.is_transposed else (x, gradient)
        precise = torch.promote_types(wide.dtype, torch.float32)
        wide, narrow = wide.to(precise), narrow.to(precise)
        if wide.dim() == self.dims + 1:
            wide, narrow = wide[None], narrow[None]
        cols = math.prod(shape[1:])
        total = narrow.shape[0] * narrow[0, 0].numel()
        if not total or not cols:
            return
        batches, places = _drawn(narrow, min(max(_MOST_NUMBERS // cols, _FEWEST), _MOST), seed)
        covered = self._covered(wide, batches, places, shape[2:])
        seen = narrow.flatten(2).mT[batches, _flat(places, narrow.shape[2:])]
        # Summed over the vectors and times their number, it is that of all positions.
        seen = seen * ((narrow.shape[0] * total) ** 0.5 / len(seen))
        energies = covered.square().mean(dim=(0, 2)).clamp(min=torch.finfo(covered.dtype).tiny)
        # Groups share one moment; by how much they differ is told by their rows.
        scales = (energies / energies.mean()).sqrt().tolist()
        each = seen.shape[1] // self.groups
        for group, scale in enumerate(scales):
            rows = slice(group * each, (group + 1) * each)
            whose = rows if self.groups > 1 else slice(None)
            yield covered[:, group] / scale, seen[:, rows] * scale, whose

    def _covered(
        self, wide: Tensor, batches: Tensor, places: list[Tensor], kernel: Sequence[int]
    ) -> Tensor:
        """Return what the kernel covers at some places, (places, groups, channels * kernel)."""
        strides, dilations = self._each(self.stride), self._each(self.dilation)
        sides = self._sides(kernel, dilations)
        padded = functional.pad(wide, [side for pair in reversed(sides) for side in pair])
        missing = [
            max(0, int(place.max()) * stride + dilation * (size - 1) + 1 - have)
            for place, stride, dilation, size, have in zip(
                places, strides, dilations, kernel, padded.shape[2:], strict=True
            )
        ]
        padded = functional.pad(padded, [side for one in reversed(missing) for side in (0, one)])
        index = torch.zeros(len(batches), 1, dtype=torch.int64)
        for axis in range(self.dims):
            offsets = torch.arange(kernel[axis]) * dilations[axis]
            own = places[axis][:, None] * strides[axis] + offsets
            index = (index[:, :, None] * padded.shape[2 + axis] + own[:, None, :]).flatten(1)
        found = padded.flatten(2).mT[batches[:, None], index]  # (places, kernel, channels)
        covered = found.mT  # (places, channels, kernel)
        return covered.reshape(len(covered), self.groups, -1)

    def _sides(self, kernel: Sequence[int], dilations: list[int]) -> list[tuple[int, int]]:
        """Return by axis how much is padded before and after."""
        if isinstance(self.padding, str):
            spans = [
                d * (size - 1) * (self.padding == "same")
                for d, size in zip(dilations, kernel, strict=True)
            ]
            return [(span // 2, span - span // 2) for span in spans]
        return [(size, size) for size in self._each(self.padding)]

    def _each(self, sizes: Sizes) -> list[int]:
        """Return a size for each axis."""
        given = [sizes] if isinstance(sizes, int) else list(sizes)
        return given * self.dims if len(given) == 1 else given


def is_convolution(function: object) -> bool:
    """Whether a function is one of PyTorch's convolutions."""
    return function in _KINDS


def _drawn(narrow: Tensor, most: int, seed: int) -> tuple[Tensor, list[Tensor]]:
    """Draw positions: which input of the batch, and by axis where in it."""
    sizes = narrow.shape[2:]
    total = narrow.shape[0] * sizes.numel()
    generator = torch.Generator().manual_seed(seed)
    flat = torch.arange(total)
    if total > most:
        flat = torch.randint(total, (most,), generator=generator)
    batches, flat = flat // sizes.numel(), flat % sizes.numel()
    places = []
    for size in reversed(sizes):
        places.append(flat % size)
        flat = flat // size
    return batches, places[::-1]


def _flat(places: list[Tensor], sizes: Sequence[int]) -> Tensor:
    index = torch.zeros_like(places[0])
    for place, size in zip(places, sizes, strict=True):
        index = index * size + place
    return index
