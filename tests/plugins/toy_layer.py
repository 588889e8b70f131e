"""A layer of one's own, and what the package must know of it."""

import torch
from torch import nn

from autocompress.layers.base import LayerAdapter


class Gated(nn.Module):
    """Multiplies a vector by one weight, and gates the result by what another one makes of it."""

    def __init__(self, cols, rows):
        super().__init__()
        self.value = nn.Parameter(torch.randn(rows, cols) / cols**0.5)
        self.gate = nn.Parameter(torch.randn(rows, cols) / cols**0.5)
        self.bias = nn.Parameter(torch.zeros(rows))

    def forward(self, x):
        return (x @ self.value.T) * torch.sigmoid(x @ self.gate.T + self.bias)


class GatedAdapter(LayerAdapter):
    layer = Gated

    def roles(self, module):
        return {"value": "linear", "gate": "linear"}

    def run(self, module, product, x):
        return product("value").times(x) * torch.sigmoid(product("gate").times(x, module.bias))
