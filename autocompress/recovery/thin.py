"""Modules that compute from two trained thin factors, without forming the weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class _Thin(nn.Module):
    """Holds the place of two factors, which `functional_call` brings."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.empty(0), requires_grad=False)
        self.right = nn.Parameter(torch.empty(0), requires_grad=False)

    @property
    def weight(self) -> Tensor:
        """The product, for models that use a module's weight in ways of their own."""
        return self.left @ self.right


class ThinEmbedding(_Thin):
    """Looks rows up in the left factor and multiplies only these by the right one."""

    def forward(self, ids: Tensor) -> Tensor:
        """Return rows (..., cols) for int64 ids of any shape."""
        return functional.embedding(ids, self.left) @ self.right


class ThinLinear(_Thin):
    """Multiplies by the right factor, then by the left one, and adds the bias."""

    def __init__(self, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., cols) to (..., rows)."""
        return functional.linear(functional.linear(x, self.right), self.left, self.bias)


def thin_modules(model: nn.Module, names: tuple[str, ...]) -> dict[str, nn.Module] | None:
    """Return modules to take the place of those that a weight belongs to.

    Args:
        model: The model.
        names: All names of one weight, as in "embedding.weight" and "decoder.weight".

    Returns:
        By the names of the modules that they replace; None if one of them is neither an
        Embedding nor a Linear, or if the model itself would have to be replaced.
    """
    modules: dict[str, nn.Module] = {}
    for path, _, name in (full.rpartition(".") for full in names):
        module = model.get_submodule(path)
        plain = isinstance(module, nn.Embedding) and module.max_norm is None
        if not path or name != "weight" or not (plain or type(module) is nn.Linear):
            return None
        modules[path] = ThinLinear(module.bias) if type(module) is nn.Linear else ThinEmbedding()
    return modules
