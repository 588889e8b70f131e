"""Linear layers."""

from __future__ import annotations

from torch import Tensor, nn

from autocompress.layers.base import LAYERS, LayerAdapter, Products, Role


@LAYERS.register("linear")
class LinearAdapter(LayerAdapter):
    """Knows `nn.Linear`: the weight multiplies the input, and a bias is added."""

    layer = nn.Linear
    is_direct = True

    def roles(self, module: nn.Module) -> dict[str, Role]:
        """Return the role of the weight."""
        del module
        return {"weight": "linear"}

    def run(self, module: nn.Module, product: Products, input: Tensor) -> Tensor:
        """Map (..., cols) to (..., rows)."""
        assert isinstance(module, nn.Linear)
        return product("weight").times(input, module.bias)
