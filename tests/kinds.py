"""Small models of every kind that people bring: by layer, dtype, tying, and what computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from autocompress import Task
from autocompress.knowledge.source import Source
from autocompress.outcome.objectives import Split
from autocompress.plan import CompressionPlan

TOKENS, WIDTH = 14, 8


class First(nn.Module):
    """A recurrent layer without its states."""

    def __init__(self, cls: Callable[..., nn.RNNBase]) -> None:
        super().__init__()
        self.rnn = cls(WIDTH, WIDTH, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        states: Tensor = self.rnn(x)[0]
        return states


class Convolved(nn.Module):
    """A convolution with statistics, a mask that is no weight, and a scalar."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(WIDTH, WIDTH, 3, padding=1)
        self.norm = nn.BatchNorm1d(WIDTH)
        self.temperature = nn.Parameter(torch.tensor(1.5))
        self.register_buffer("mask", torch.full((2, 2), -torch.inf).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.norm(self.convolution(x.mT)).mT
        return found / self.temperature


class Stepped(nn.Module):
    """Two cells, which are called once for each step."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LSTMCell(WIDTH, WIDTH), nn.GRUCell(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        first, second, states = None, None, []
        for step in x.unbind(1):
            first = self.first(step, first)
            second = self.second(first[0], second)
            states.append(second)
        return torch.stack(states, dim=1)


class Transposed(nn.Module):
    """Groups, steps of two and back, and a norm whose scale half precision does not hold."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1, padding_mode="circular")
        self.each = nn.Conv1d(WIDTH, WIDTH, 3, padding="same", groups=WIDTH)
        self.up = nn.ConvTranspose1d(WIDTH, WIDTH, 2, stride=2, bias=False)
        self.norm = nn.LayerNorm(WIDTH)
        nn.init.constant_(self.norm.weight, 1e-6)
        nn.init.constant_(self.norm.bias, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.up(functional.relu(self.each(self.down(x.mT)), inplace=True)).mT
        normed: Tensor = 1e6 * (self.norm(found) - self.norm.bias)
        return normed


class Attending(nn.Module):
    """Attention with a key and a value of its own, and a norm."""

    def __init__(self) -> None:
        super().__init__()
        options = {"batch_first": True, "add_bias_kv": True, "add_zero_attn": True}
        self.attention = nn.MultiheadAttention(WIDTH, 2, **options)
        self.norm = nn.RMSNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.norm(x + self.attention(x, x, x, need_weights=False)[0])
        return found


class Own(nn.Module):
    """A bilinear layer, and parameters that no layer knows, used by functions of other kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs = nn.Bilinear(WIDTH, WIDTH, WIDTH)
        self.mixing = nn.Parameter(torch.randn(WIDTH, WIDTH) / WIDTH**0.5)
        self.scale = nn.Parameter(torch.full((WIDTH,), 1.5))
        self.temperature = nn.Parameter(torch.tensor(1.1))

    def forward(self, x: Tensor) -> Tensor:
        mixed = torch.einsum("btw,wv->btv", self.pairs(x, x), self.mixing)
        return mixed * self.scale / self.temperature


LAYERS: Mapping[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(WIDTH, WIDTH),
    "lstm": lambda: First(nn.LSTM),
    "gru": lambda: First(nn.GRU),
    "convolution": Convolved,
    "cells": Stepped,
    "transposed": Transposed,
    "attention": Attending,
    "own": Own,
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
TIES = ("apart", "one", "storage")
CORE = ("linear", "lstm", "gru", "convolution")
COMBINATIONS = [
    (layer, tie, dtype, losses)
    for number, layer in enumerate(LAYERS)
    for a, tie in enumerate(TIES)
    for b, dtype in enumerate(DTYPES)
    for losses in (True, False)
    if layer in CORE or (a, b) == (number % 3, (number + 1) % 3)
]
"""Layer, tying, dtype, with training losses or without: all of them of the layers most used."""


class Model(nn.Module):
    """Names the next token, by a layer between an embedding with padding and a decoder."""

    def __init__(self, layer: str = "linear", tie: str = "apart") -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, WIDTH, padding_idx=0)
        self.layer = LAYERS[layer]()
        self.decoder = nn.Linear(WIDTH, TOKENS)
        if tie == "one":
            self.decoder.weight = self.embedding.weight
        elif tie == "storage":
            self.decoder.weight = nn.Parameter(self.embedding.weight.data)

    def forward(self, tokens: Tensor) -> Tensor:
        scores: Tensor = self.decoder(self.layer(self.embedding(tokens)))
        return scores


def _pruned(module: nn.Module, name: str = "weight") -> nn.Module:
    return prune.l1_unstructured(module, name, 0.5)  # type: ignore[no-untyped-call, no-any-return]


COMPUTING: Mapping[str, Callable[..., nn.Module]] = {
    "weight_norm hook": weight_norm,
    "spectral_norm hook": spectral_norm,
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "prune": _pruned,
}
"""What computes a weight from others."""


def made(layer: str = "linear", tie: str = "apart", dtype: torch.dtype = torch.float32) -> Model:
    """Return a model, the same for the same arguments, in training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = Model(layer, tie)
        model(batches()[0])  # statistics that are no zeros and ones
        if tie == "storage":  # a conversion parts them
            model = model.to(dtype)
            model.decoder.weight = nn.Parameter(model.embedding.weight.data)
        return model.to(dtype)


def computing(kind: str, layer: str) -> Model:
    """Return a model in which something computes the weights of the layer and of the embedding."""
    model = made(layer)
    model.embedding = nn.Embedding(TOKENS, WIDTH)  # padding is not kept by what divides by norms
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        COMPUTING[kind](model.embedding, "weight")
        if layer == "linear":
            COMPUTING[kind](model.layer, "weight")
        else:
            COMPUTING[kind](model.layer.rnn, "weight_hh_l0")
        model(batches()[0])  # statistics of the norms
    return model


def batches() -> list[Tensor]:
    """Return batches of tokens, with padding."""
    generator = torch.Generator().manual_seed(0)
    return list(torch.randint(TOKENS, (3, 4, 6), generator=generator))


class NextToken(Task):
    """Scores the next token."""

    metric = "loss"

    def __init__(self, *, losses: bool = True) -> None:
        self.losses = losses

    def _loss(self, model: nn.Module, tokens: Tensor) -> Tensor:
        scores = model(tokens)[:, :-1].flatten(0, 1).float()
        return functional.cross_entropy(scores, tokens[:, 1:].flatten())

    def evaluate(self, model: nn.Module, split: Split) -> float:
        del split
        with torch.no_grad():
            return float(np.mean([self._loss(model, batch).item() for batch in batches()]))

    def calibration_batches(self) -> Iterator[Tensor]:
        yield from batches()

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[Tensor]:
        del teacher, distillation, seed
        model.train()
        while self.losses:
            for batch in batches():
                yield self._loss(model, batch)


def plan_of(source: Source, structure: Mapping[str, Any], bits: int) -> CompressionPlan:
    """Return a plan that stores all matrices by a structure, and levels for whole tensors."""
    treatments = {
        name: {
            "structure": structure if min(weight.matrix.shape) >= WIDTH else {"kind": "dense"},
            "precision": {"kind": "uniform", "bits": bits, "group": "tensor"},
        }
        for name, weight in source.weights.weights.items()
    }
    return CompressionPlan.from_json({"treatments": treatments})


def outputs(model: nn.Module) -> Tensor:
    """Return what a model computes in evaluation mode."""
    with torch.no_grad():
        found: Tensor = model.eval()(torch.stack(batches()).flatten(0, 1))
    return found


def state(model: nn.Module) -> dict[str, tuple[int, bool, Tensor]]:
    """Return all of a model's tensors, with who they are and whether they are trained."""
    tensors: dict[str, Tensor] = model.state_dict(keep_vars=True)
    return {n: (id(t), t.requires_grad, t.detach().clone()) for n, t in tensors.items()}


def check_untouched(model: nn.Module, before: Mapping[str, tuple[int, bool, Tensor]]) -> None:
    """Fail if a model's tensors are not what they were, or it is not in training mode."""
    for name, (identity, trained, value) in state(model).items():
        assert (identity, trained) == before[name][:2], name
        assert torch.equal(value, before[name][2]), name
    assert all(module.training for module in model.modules())
