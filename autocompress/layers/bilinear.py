"""Bilinear layers."""

from __future__ import annotations

from torch import Tensor, nn

from autocompress.layers.base import LAYERS, LayerAdapter, Products, Role


def pairs(first: Tensor, second: Tensor) -> Tensor:
    """Return all products of two vectors, (..., a) and (..., b), as one, (..., a * b)."""
    return (first[..., :, None] * second[..., None, :]).flatten(-2)


@LAYERS.register("bilinear")
class BilinearAdapter(LayerAdapter):
    """Knows `nn.Bilinear`: the weight multiplies all products of two inputs."""

    layer = nn.Bilinear
    is_direct = True

    def roles(self, module: nn.Module) -> dict[str, Role]:
        """Return the role of the weight."""
        del module
        return {"weight": "linear"}

    def run(self, module: nn.Module, product: Products, input1: Tensor, input2: Tensor) -> Tensor:
        """Map (..., a) and (..., b) to (..., rows)."""
        assert isinstance(module, nn.Bilinear)
        return product("weight").times(pairs(input1, input2), module.bias)
