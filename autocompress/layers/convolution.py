"""Convolutions, plain and transposed."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from autocompress.layers.base import LAYERS, LayerAdapter, Products, Role
from autocompress.layers.convolving import Convolution


class ConvolutionAdapter(LayerAdapter):
    """Convolves with whatever stands for the weight; all modes of padding are known."""

    is_direct = True

    def roles(self, module: nn.Module) -> dict[str, Role]:
        """Return the role of the weight."""
        del module
        return {"weight": "convolution"}

    def run(self, module: nn.Module, product: Products, input: Tensor) -> Tensor:
        """Map (batch, inputs, ...) to (batch, outputs, ...), or the same of one input."""
        assert isinstance(module, _ConvNd)
        padding: Any = module.padding
        if module.padding_mode != "zeros":
            sides = list(module._reversed_padding_repeated_twice)
            input, padding = functional.pad(input, sides, mode=module.padding_mode), 0
        how = Convolution(
            dims=len(module.kernel_size),
            stride=module.stride,
            padding=padding,
            groups=module.groups,
            dilation=module.dilation,
        )
        return product("weight").convolve(input, how, module.bias)


class TransposedAdapter(LayerAdapter):
    """Convolves, transposed, with whatever stands for the weight."""

    is_direct = True

    def roles(self, module: nn.Module) -> dict[str, Role]:
        """Return the role of the weight."""
        del module
        return {"weight": "convolution"}

    def run(
        self,
        module: nn.Module,
        product: Products,
        input: Tensor,
        output_size: list[int] | None = None,
    ) -> Tensor:
        """Map (batch, inputs, ...) to (batch, outputs, ...), or the same of one input."""
        assert isinstance(module, _ConvTransposeNd)
        dims = len(module.kernel_size)
        sizes = module.stride, module.padding, module.kernel_size
        find: Any = module._output_padding
        added = find(input, output_size, *sizes, dims, module.dilation)
        how = Convolution(
            dims=dims,
            is_transposed=True,
            stride=module.stride,
            padding=module.padding,
            output_padding=added,
            groups=module.groups,
            dilation=module.dilation,
        )
        return product("weight").convolve(input, how, module.bias)


@LAYERS.register("conv1d")
class Conv1dAdapter(ConvolutionAdapter):
    """Knows `nn.Conv1d`."""

    layer = nn.Conv1d


@LAYERS.register("conv2d")
class Conv2dAdapter(ConvolutionAdapter):
    """Knows `nn.Conv2d`."""

    layer = nn.Conv2d


@LAYERS.register("conv3d")
class Conv3dAdapter(ConvolutionAdapter):
    """Knows `nn.Conv3d`."""

    layer = nn.Conv3d


@LAYERS.register("conv_transpose1d")
class ConvTranspose1dAdapter(TransposedAdapter):
    """Knows `nn.ConvTranspose1d`."""

    layer = nn.ConvTranspose1d


@LAYERS.register("conv_transpose2d")
class ConvTranspose2dAdapter(TransposedAdapter):
    """Knows `nn.ConvTranspose2d`."""

    layer = nn.ConvTranspose2d


@LAYERS.register("conv_transpose3d")
class ConvTranspose3dAdapter(TransposedAdapter):
    """Knows `nn.ConvTranspose3d`."""

    layer = nn.ConvTranspose3d
