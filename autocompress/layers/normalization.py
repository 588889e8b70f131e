"""Layers that normalise: they scale and shift what comes in, and multiply no vectors."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from autocompress.layers.base import LAYERS, LayerAdapter, Products, Role


class NormAdapter(LayerAdapter):
    """Tells which parameters scale and shift; the layer runs as it is."""

    is_direct = True

    def roles(self, module: nn.Module) -> dict[str, Role]:
        """Return the roles of scale and shift, where the layer has them."""
        names = ("weight", "bias")
        return {name: "norm" for name in names if getattr(module, name, None) is not None}

    def can_run(self, module: nn.Module) -> bool:
        """Return False: there is nothing to be put in place of scale and shift."""
        del module
        return False

    def run(self, module: nn.Module, product: Products, *arguments: Any, **named: Any) -> Any:
        """Leave it to the layer."""
        del module, product, arguments, named
        return NotImplemented


@LAYERS.register("layer_norm")
class LayerNormAdapter(NormAdapter):
    """Knows `nn.LayerNorm`."""

    layer = nn.LayerNorm


@LAYERS.register("group_norm")
class GroupNormAdapter(NormAdapter):
    """Knows `nn.GroupNorm`."""

    layer = nn.GroupNorm


@LAYERS.register("rms_norm")
class RMSNormAdapter(NormAdapter):
    """Knows `nn.RMSNorm`."""

    layer = nn.RMSNorm


@LAYERS.register("batch_norm")
class BatchNormAdapter(NormAdapter):
    """Knows `nn.BatchNorm1d` to `3d`, `SyncBatchNorm`, and `nn.InstanceNorm1d` to `3d`."""

    layer = _NormBase
