"""Layers: what is known of each PyTorch layer type. One file each."""

from autocompress.layers import (
    attention,
    bilinear,
    cells,
    convolution,
    embedding,
    linear,
    normalization,
    recurrent,
)
from autocompress.layers.base import LAYERS, LayerAdapter, Plain, Product, Products, Role
from autocompress.layers.convolving import Convolution

__all__ = [
    "LAYERS", "Convolution", "LayerAdapter", "Plain", "Product", "Products", "Role",
    "attention", "bilinear", "cells", "convolution", "embedding", "linear", "normalization",
    "recurrent",
]  # fmt: skip
