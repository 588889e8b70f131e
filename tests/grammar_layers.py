"""The words of the grammar: layers of every kind, each a map of vectors (batch, time, width)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

TOKENS = 11


class Around(nn.Module):
    """A layer, and how it is called to map vectors (batch, time, width) to such."""

    def __init__(self, layer: nn.Module, call: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer = layer
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.layer, x)


class InOtherNumbers(nn.Module):
    """A layer that computes in a dtype of its own."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.layer = layer.to(dtype)
        self.dtype = dtype

    def _apply(self, fn: Any, recurse: bool = True) -> InOtherNumbers:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.layer.to(self.dtype)
        return self

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x.to(self.dtype)).to(x.dtype)
        return found


class Doubling(nn.Linear):
    """A layer of PyTorch's with a forward of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x) - x


class FirstOutput(nn.LSTM):
    """A recurrent layer that returns no states."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        found: Tensor = super().forward(x.flip(1))[0]
        return found


class Standardized(nn.Conv1d):
    """A convolution whose kernels are standardized before each use."""

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight - self.weight.mean(dim=(1, 2), keepdim=True)
        return functional.conv1d(x.mT, kernel, self.bias, padding=1).mT


class Scaled(nn.Embedding):
    """A table whose rows are scaled when they are looked up."""

    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens) * 1.5


class Bare(nn.Module):
    """Parameters and buffers of all shapes and dtypes that no layer holds."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(1.5))
        self.shift = nn.Parameter(torch.randn(width))
        self.cube = nn.Parameter(torch.randn(2, width, width) / width)
        self.pair = nn.ParameterList([torch.randn(1, width), torch.randn(width, 1)])
        self.nothing = nn.Parameter(torch.empty(0, width))
        self.adapter = nn.Parameter(torch.zeros(width, 3))  # starts at zero, as many do
        self.count = nn.Parameter(torch.arange(3), requires_grad=False)
        self.register_buffer("steps", torch.tensor(7))
        self.register_buffer("allowed", torch.rand(width) > 0.3)
        self.register_buffer("causal", torch.full((5, 5), -torch.inf).triu(1))
        self.register_buffer("far", torch.tensor([-1e4, -torch.inf, torch.nan, 6e4]))
        self.register_buffer("unsaved", torch.ones(2), persistent=False)
        self.register_buffer("none", None)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.einsum("btw,nwv->btv", x, self.cube) + self.shift * self.pair[0]
        x = x + x @ self.pair[1] + (x @ self.adapter).sum(dim=-1, keepdim=True)
        return x * self.get_buffer("allowed") / self.temperature


class Odd(nn.Module):
    """Parameters and buffers whose values, layouts or names are out of the ordinary."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.turned = nn.Parameter(torch.randn(width, width).mT / width)  # not contiguous
        self.skipping = nn.Parameter(torch.randn(width, 2 * width)[:, ::2] / width)
        self.tiny = nn.Parameter(torch.randn(width, width) * 1e-30)
        self.huge = nn.Parameter(torch.randn(width) * 1e4)
        self.same = nn.Parameter(torch.full((width, width), 0.25))
        self.table = nn.ParameterDict({"a.b".replace(".", "-"): torch.randn(width, 1, 1)})
        self.kernel = nn.Conv2d(1, 2, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        outlying = torch.randn(width, width) / width
        outlying[0, 0] = 50.0
        self.outlying = nn.Parameter(outlying)
        self.register_buffer("eighth", torch.ones(3).to(torch.float8_e4m3fn))
        self.register_buffer("unsigned", torch.tensor([1, 2, 60000], dtype=torch.uint16))
        self.register_buffer("strided", torch.arange(12.0).view(3, 4).mT)
        self.register_buffer("repeated", torch.ones(1).expand(5).clone())

    def forward(self, x: Tensor) -> Tensor:
        x = x @ self.turned + x @ self.skipping + (x @ self.same).tanh()
        x = x + (x @ self.tiny) * 1e4 + (x @ self.outlying).tanh() + (x * self.huge).sin() * 1e-4
        x = x * self.table["a-b"].flatten()
        found: Tensor = self.kernel(x[:, None]).mean(dim=1)
        return found


class Rotating(nn.Module):
    """Turns pairs of numbers by a table of complex ones, and keeps a state of its own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))
        self.turned = torch.polar(torch.ones(width), torch.linspace(0, 3, width))
        self.register_buffer("turns", self.turned)

    def _apply(self, fn: Any, recurse: bool = True) -> Rotating:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.turns = self.turned  # PyTorch drops the imaginary parts
        return self

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": 3}

    def set_extra_state(self, state: dict[str, int]) -> None:
        assert state == {"calls": 3}

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.turns).real.to(x.dtype) * self.gain


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


def _by_function(random: Random, width: int) -> nn.Module:
    if random.random() < 0.5:
        return Around(nn.Linear(width, width), lambda f, x: functional.linear(x, f.weight, f.bias))
    return Around(nn.Linear(width, width), lambda f, x: torch.matmul(x, f.weight.T) + f.bias)


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
