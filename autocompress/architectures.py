"""Architectures: how a model that describes itself in its file is built again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from autocompress.registry import Registry

if TYPE_CHECKING:
    from torch import nn

ARCHITECTURES: Registry[Callable[[Mapping[str, Any]], nn.Module]] = Registry(
    "architecture", "autocompress.architectures"
)
"""By the "architecture" of a model's description, a function from the whole description to a
module with that structure, whose weights do not matter."""
