"""The words of the grammar: layers of every kind, each a map of vectors (batch, time, width)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import torch
from grammar_modules import (
    Around,
    Bare,
    Doubling,
    FirstOutput,
    Locked,
    Odd,
    Rotating,
    Scaled,
    Standardized,
)
from grammar_task import TOKENS
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint


def _linear(random: Random, width: int) -> nn.Module:
    return nn.Linear(width, width, bias=random.random() < 0.7)


def _feed_forward(random: Random, width: int) -> nn.Module:
    between = random.choice([nn.GELU(), nn.PReLU(), nn.Tanh()])
    layers = nn.Linear(width, 2 * width), between, nn.Dropout(0.1), nn.Linear(2 * width, width)
    as_rows = random.random() < 0.3
    network = nn.Sequential(nn.Sequential(*layers[:2]), nn.ModuleDict(), *layers[2:])
    del network[1]  # leaves a gap of names
    return Around(network, lambda f, x: f(x.flatten(0, 1)).view_as(x)) if as_rows else network


def _recurrent(random: Random, width: int) -> nn.Module:
    cls = random.choice([nn.LSTM, nn.GRU, nn.RNN])
    both, first = random.random() < 0.4, random.random() < 0.5
    settings: dict[str, Any] = {"bidirectional": both, "batch_first": first}
    settings |= {"num_layers": random.choice([1, 1, 2]), "bias": random.random() < 0.7}
    hidden = width // 2 if both else width
    if cls is nn.LSTM and random.random() < 0.3:
        settings["proj_size"], hidden = hidden, hidden + 2
    if cls is nn.RNN:
        settings["nonlinearity"] = random.choice(["tanh", "relu"])
    if settings["num_layers"] > 1:
        settings["dropout"] = random.choice([0.0, 0.3])
    layer = cls(width, hidden, **settings)
    if first:
        return Around(layer, random.choice([_states, _packed, _one_by_one]))
    return Around(layer, lambda layer, x: layer(x.transpose(0, 1))[0].transpose(0, 1))


def _states(layer: Any, x: Tensor) -> Tensor:
    found: Tensor = layer(x)[0]
    return found


def _packed(layer: Any, x: Tensor) -> Tensor:
    lengths = torch.arange(len(x)) % x.shape[1] + 1
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(layer(packed)[0], batch_first=True, total_length=x.shape[1])[0]


def _one_by_one(layer: Any, x: Tensor) -> Tensor:
    return torch.stack([layer(sequence)[0] for sequence in x])


def _cell(random: Random, width: int) -> nn.Module:
    layer = random.choice([nn.LSTMCell, nn.GRUCell, nn.RNNCell])(width, width)

    def steps(layer: Any, x: Tensor) -> Tensor:
        state, found = None, []
        for step in x.unbind(1):
            state = layer(step, state)
            found.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(found, dim=1)

    return Around(layer, steps)


def _convolution(random: Random, width: int) -> nn.Module:
    kind = random.choice(["1d", "1d", "2d", "3d", "transposed 1d", "transposed 2d"])
    groups = random.choice([1, 1, width])
    bias = random.random() < 0.7
    if kind.endswith("1d"):
        cls: Any = nn.Conv1d if kind == "1d" else nn.ConvTranspose1d
        layer = cls(width, width, 3, padding=1, groups=groups, bias=bias)
        return Around(layer, lambda layer, x: layer(x.mT).mT)
    cls = {"2d": nn.Conv2d, "3d": nn.Conv3d, "transposed 2d": nn.ConvTranspose2d}[kind]
    images = cls(1, 3, 3, padding=1, bias=bias)
    if kind == "3d":
        return Around(images, lambda layer, x: layer(x[:, None, None]).mean(dim=(1, 2)))
    return Around(images, lambda layer, x: layer(x[:, None]).mean(dim=1))


def _norm(random: Random, width: int) -> nn.Module:
    affine = random.random() < 0.8
    channels = random.choice(["layer", "rms", "batch", "batch", "group", "instance"])
    if channels == "layer":
        return nn.LayerNorm(width, elementwise_affine=affine)
    if channels == "rms":
        return nn.RMSNorm(width, elementwise_affine=affine)
    layer: nn.Module = nn.GroupNorm(2, width, affine=affine)
    if channels == "batch":
        layer = nn.BatchNorm1d(width, affine=affine, track_running_stats=random.random() < 0.8)
    elif channels == "instance":
        layer = nn.InstanceNorm1d(width, affine=affine, track_running_stats=affine)
    return Around(layer, lambda layer, x: layer(x.mT).mT)


def _attention(random: Random, width: int) -> nn.Module:
    kinds: list[dict[str, Any]] = [
        {},
        {"bias": False},
        {"add_bias_kv": True},
        {"kdim": width // 2, "vdim": width},
    ]
    kind = random.choice(kinds)
    layer = nn.MultiheadAttention(width, 2, batch_first=True, **kind)
    keys = kind.get("kdim", width)
    return Around(layer, lambda layer, x: layer(x, x[..., :keys], x, need_weights=keys < 9)[0])


def _transformer(random: Random, width: int) -> nn.Module:
    settings: Any = {"batch_first": True, "norm_first": random.random() < 0.5, "dropout": 0.1}
    if random.random() < 0.3:
        layer = nn.TransformerDecoderLayer(width, 2, 2 * width, **settings)
        return Around(layer, lambda layer, x: layer(x, x.flip(1)))
    return nn.TransformerEncoderLayer(width, 2, 2 * width, **settings)


def _bilinear(random: Random, width: int) -> nn.Module:
    layer = nn.Bilinear(width, width, width, bias=random.random() < 0.5)
    return Around(layer, lambda layer, x: layer(x, x.tanh()))


def _whole(layer: Any, x: Tensor) -> Tensor:
    found: Tensor = functional.linear(x, layer.weight, layer.bias)
    return found


def _product(layer: Any, x: Tensor) -> Tensor:
    found: Tensor = torch.matmul(x, layer.weight.T) + layer.bias
    return found


def _masked(layer: Any, x: Tensor) -> Tensor:
    return functional.linear(x, layer.weight.tril())


def _in_parts(layer: Any, x: Tensor) -> Tensor:
    upper, lower = layer.weight[:2], layer.weight.data[2:]
    return torch.cat([functional.linear(x, upper), functional.linear(x, lower)], dim=-1)


def _turned(layer: Any, x: Tensor) -> Tensor:
    return functional.linear(functional.linear(x, layer.weight), layer.weight.T)


def _in_place(layer: Any, x: Tensor) -> Tensor:
    x = x.clone()
    before = layer(x).clone()
    x.mul_(0.5)
    found: Tensor = layer(x).mul_(2.0)
    return found.add_(before)


def _checkpointed(layer: Any, x: Tensor) -> Tensor:
    found: Tensor = checkpoint(layer, x, use_reentrant=False)
    return found


def _without_gradients(layer: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = layer(x)
    return found


def _of_odd_shapes(layer: Any, x: Tensor) -> Tensor:
    one, none, some = layer(x[0, 0]), layer(x[:, :0]), layer(x[:, :, None].mT.mT[:, :, 0])
    found: Tensor = some + one + none.sum()
    return found


CALLS: list[Callable[[Any, Tensor], Tensor]] = [_whole, _product, _masked, _in_parts, _turned]
CALLS += [_in_place, _checkpointed, _without_gradients, _of_odd_shapes]


def _by_function(random: Random, width: int) -> nn.Module:
    return Around(nn.Linear(width, width), random.choice(CALLS))


def _own_forward(random: Random, width: int) -> nn.Module:
    made: list[Callable[[], nn.Module]] = [
        lambda: Doubling(width, width),
        lambda: FirstOutput(width, width, batch_first=True),
        lambda: Standardized(width, width, 3),
    ]
    return random.choice(made)()


LAYERS: Mapping[str, Callable[[Random, int], nn.Module]] = {
    "linear": _linear,
    "feed forward": _feed_forward,
    "recurrent": _recurrent,
    "cell": _cell,
    "convolution": _convolution,
    "norm": _norm,
    "attention": _attention,
    "transformer": _transformer,
    "bilinear": _bilinear,
    "by function": _by_function,
    "own forward": _own_forward,
    "bare": lambda _, width: Bare(width),
    "locked": lambda _, width: Locked(width),
    "odd": lambda _, width: Odd(width),
    "rotating": lambda _, width: Rotating(width),
}
"""By name, what makes a layer of a width, which is even and at least 4."""


def front(random: Random, width: int) -> nn.Module:
    """Return what makes vectors of tokens (batch, time)."""
    padding = random.choice([None, 0, TOKENS - 1])
    kind = random.choice(["plain", "plain", "plain", "max norm", "scaled", "sparse", "bag"])
    if kind == "bag":
        mode = random.choice(["sum", "mean", "max"])
        bag = nn.EmbeddingBag(TOKENS, width, mode=mode, padding_idx=padding)
        return Around(bag, _bags)
    cls = Scaled if kind == "scaled" else nn.Embedding
    norm = 0.7 if kind == "max norm" else None
    return cls(TOKENS, width, padding_idx=padding, max_norm=norm, sparse=kind == "sparse")


def _bags(layer: Any, tokens: Tensor) -> Tensor:
    flat = tokens.reshape(-1, 1)
    pairs = torch.cat([flat, flat.roll(1)], dim=1)
    found: Tensor = layer(pairs)
    return found.view(*tokens.shape, -1)
