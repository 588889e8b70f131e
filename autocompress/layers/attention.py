"""Attention with several heads."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from autocompress.layers.base import LAYERS, LayerAdapter, Products, Role

_SEPARATE = ("q_proj_weight", "k_proj_weight", "v_proj_weight")


class _Call(NamedTuple):
    """What `nn.MultiheadAttention` is called with, in its order."""

    query: Tensor
    key: Tensor
    value: Tensor
    key_padding_mask: Tensor | None = None
    need_weights: bool = True
    attn_mask: Tensor | None = None
    average_attn_weights: bool = True
    is_causal: bool = False


@LAYERS.register("multihead_attention")
class AttentionAdapter(LayerAdapter):
    """Knows `nn.MultiheadAttention`, inside the layers of a transformer too."""

    layer = nn.MultiheadAttention

    def roles(self, module: nn.Module) -> dict[str, Role]:
        """Return the roles of the projections of what goes in, one weight or three, and out."""
        assert isinstance(module, nn.MultiheadAttention)
        names = ("in_proj_weight",) if module._qkv_same_embed_dim else _SEPARATE
        return dict.fromkeys((*names, "out_proj.weight"), "linear")

    def run(self, module: nn.Module, product: Products, *arguments: Any, **named: Any) -> Any:
        """Attend; `is_causal` only says what `attn_mask`, which it needs, holds anyway."""
        assert isinstance(module, nn.MultiheadAttention)
        call = _Call(*arguments, **named)
        query, key = call.query, call.key
        single = query.dim() == 2
        if query.is_nested or key.is_nested or (module.training and module.dropout):
            return NotImplemented
        if call.is_causal and call.attn_mask is None:
            return NotImplemented

        def turned(states: Tensor) -> Tensor:
            """Put the sequences first, or back to where they were."""
            return states if module.batch_first or single else states.transpose(0, 1)

        projected = [
            turned(states) for states in _projected(module, product, query, key, call.value)
        ]
        q, *others = (part.unsqueeze(0) if single else part for part in projected)
        k, v = _extended(module, *others)
        added = k.shape[1] - others[0].shape[1]
        q, k, v = (
            part.unflatten(-1, (module.num_heads, module.head_dim)).transpose(1, 2)  # type: ignore[no-untyped-call]
            for part in (q, k, v)
        )
        scores = q @ k.transpose(-1, -2) / math.sqrt(module.head_dim)
        for mask in (_by_head(call.attn_mask, len(q)), _by_key(call.key_padding_mask, single)):
            if mask is not None:
                scores = scores + functional.pad(mask.to(scores.dtype), (0, added))
        weights = scores.softmax(dim=-1)
        attended = (weights @ v).transpose(1, 2).flatten(2)
        attended = turned(attended.squeeze(0) if single else attended)
        output = product("out_proj.weight").times(attended, module.out_proj.bias)
        if not call.need_weights:
            return output, None
        weights = weights.mean(dim=1) if call.average_attn_weights else weights
        return output, weights.squeeze(0) if single else weights


def _projected(
    module: nn.MultiheadAttention, product: Products, query: Tensor, key: Tensor, value: Tensor
) -> tuple[Tensor, ...]:
    """Project queries, keys and values; what is one and the same, by one product."""
    bias, size = module.in_proj_bias, module.embed_dim
    if not module._qkv_same_embed_dim:
        biases: tuple[Tensor | None, ...] = (None,) * 3 if bias is None else bias.chunk(3)
        parts = zip(_SEPARATE, (query, key, value), biases, strict=True)
        return tuple(product(name).times(states, own) for name, states, own in parts)
    whole = product("in_proj_weight")
    if query is key and key is value:
        return whole.times(query, bias).chunk(3, dim=-1)

    def part(states: Tensor, first: int, last: int) -> Tensor:
        rows = slice(first * size, last * size)
        return whole.times(states, None if bias is None else bias[rows], rows)

    if key is value:
        return part(query, 0, 1), *part(key, 1, 3).chunk(2, dim=-1)
    return part(query, 0, 1), part(key, 1, 2), part(value, 2, 3)


def _extended(
    module: nn.MultiheadAttention, keys: Tensor, values: Tensor
) -> tuple[Tensor, Tensor]:
    """Add the key and value that the module has learnt, and those of zeros, if it does so."""
    pairs = [(module.bias_k, module.bias_v)] if module.bias_k is not None else []
    if module.add_zero_attn:
        zeros = keys.new_zeros(1, 1, keys.shape[-1])
        pairs.append((zeros, zeros))
    for key, value in pairs:
        assert key is not None
        assert value is not None
        keys = torch.cat([keys, key.expand(len(keys), -1, -1)], dim=1)
        values = torch.cat([values, value.expand(len(values), -1, -1)], dim=1)
    return keys, values


def _added(mask: Tensor) -> Tensor:
    """Return what a mask adds to scores: a truth value says what is left out."""
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=torch.float32).masked_fill(mask, -math.inf)


def _by_head(mask: Tensor | None, batch: int) -> Tensor | None:
    """Return an attention mask to be added to scores (batch, heads, queries, keys)."""
    if mask is None:
        return None
    added = _added(mask)
    return added if mask.dim() == 2 else added.reshape(batch, -1, *mask.shape[1:])


def _by_key(mask: Tensor | None, single: bool) -> Tensor | None:
    """Return a mask of keys, (batch, keys), to be added to scores."""
    if mask is None:
        return None
    return _added(mask[None] if single else mask)[:, None, None, :]
