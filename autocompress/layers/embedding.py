"""Embeddings, and bags of them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from autocompress.layers.base import LAYERS, LayerAdapter, Products, Role


@LAYERS.register("embedding")
class EmbeddingAdapter(LayerAdapter):
    """Knows `nn.Embedding`: rows are looked up."""

    layer = nn.Embedding
    is_direct = True

    def rewrites(self, module: nn.Module) -> bool:
        """Rows that are looked up may be scaled to a norm, in place."""
        assert isinstance(module, nn.Embedding)
        return module.max_norm is not None

    def roles(self, module: nn.Module) -> dict[str, Role]:
        """Return the role of the weight."""
        del module
        return {"weight": "embedding"}

    def can_run(self, module: nn.Module) -> bool:
        """Leave embeddings alone whose weight changes as its rows are looked up."""
        assert isinstance(module, nn.Embedding)
        return super().can_run(module) and module.max_norm is None

    def run(self, module: nn.Module, product: Products, input: Tensor) -> Tensor:
        """Return rows (..., cols) for ids of any shape."""
        del module
        return product("weight").rows(input)


@LAYERS.register("embedding_bag")
class EmbeddingBagAdapter(LayerAdapter):
    """Knows `nn.EmbeddingBag` with bags of one length, whose rows are added up or averaged."""

    layer = nn.EmbeddingBag

    def rewrites(self, module: nn.Module) -> bool:
        """Rows that are looked up may be scaled to a norm, in place."""
        assert isinstance(module, nn.EmbeddingBag)
        return module.max_norm is not None

    def roles(self, module: nn.Module) -> dict[str, Role]:
        """Return the role of the weight."""
        del module
        return {"weight": "embedding"}

    def can_run(self, module: nn.Module) -> bool:
        """Leave bags alone that are more than sums or means of rows."""
        assert isinstance(module, nn.EmbeddingBag)
        changes = module.max_norm is not None or module.padding_idx is not None
        return super().can_run(module) and not changes and module.mode in ("sum", "mean")

    def run(
        self, module: nn.Module, product: Products, input: Tensor, *more: Any, **named: Any
    ) -> Any:
        """Return one vector for each bag, (bags, cols), for ids of shape (bags, ids)."""
        if input.dim() != 2 or any(value is not None for value in (*more, *named.values())):
            return NotImplemented
        rows = product("weight").rows(input)
        return rows.sum(dim=1) if module.mode == "sum" else rows.mean(dim=1)
