"""Layers: what is known of each PyTorch layer type. One file each."""

from autocompress.layers import attention, embedding, linear, recurrent
from autocompress.layers.base import LAYERS, LayerAdapter, Plain, Product, Products, Role

__all__ = [
    "LAYERS", "LayerAdapter", "Plain", "Product", "Products", "Role",
    "attention", "embedding", "linear", "recurrent",
]  # fmt: skip
