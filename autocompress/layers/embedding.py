"""Embeddings, and bags of them."""

from __future__ import annotations

from typing import Any

import torch
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
    """Knows `nn.EmbeddingBag`: rows are looked up, and added up, averaged or compared."""

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
        """Leave bags alone whose weight changes as its rows are looked up."""
        assert isinstance(module, nn.EmbeddingBag)
        return super().can_run(module) and module.max_norm is None

    def run(
        self,
        module: nn.Module,
        product: Products,
        input: Tensor,
        offsets: Tensor | None = None,
        per_sample_weights: Tensor | None = None,
    ) -> Any:
        """Return one vector for each bag, (bags, cols).

        Ids are of shape (bags, ids), or (ids,) with the places where bags begin.
        """
        assert isinstance(module, nn.EmbeddingBag)
        numbers = torch.arange(len(input), device=input.device)
        if input.dim() == 2 and offsets is None:
            bags, count = numbers.repeat_interleave(input.shape[1]), len(input)
        elif input.dim() == 1 and offsets is not None:
            bags = torch.searchsorted(offsets, numbers, right=True) - 1
            count = len(offsets) - bool(module.include_last_offset)
        else:
            return NotImplemented
        ids = input.flatten()
        rows = product("weight").rows(ids)
        if per_sample_weights is not None:
            rows = rows * per_sample_weights.flatten()[:, None]
        if module.padding_idx is not None:
            kept = ids != module.padding_idx
            rows, bags = rows[kept], bags[kept]
        zeros = rows.new_zeros(count, rows.shape[1])
        if module.mode == "max":
            places = bags[:, None].expand_as(rows)
            return zeros.scatter_reduce(0, places, rows, "amax", include_self=False)
        sums = zeros.index_add(0, bags, rows)
        if module.mode == "sum":
            return sums
        return sums / torch.bincount(bags, minlength=count).clamp(min=1)[:, None]
