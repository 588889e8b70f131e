"""Models as people bring them, each with a task: what reads or calls more than `forward`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

from autocompress import Task
from autocompress.outcome.objectives import Split

TOKENS, WIDTH = 40, 16


class Transformer(nn.Module):
    """An encoder of PyTorch's own layers, with a causal mask."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 24, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.decoder = nn.Linear(WIDTH, TOKENS)

    def forward(self, tokens: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        states = self.encoder(self.embedding(tokens), mask=mask, is_causal=True)
        scores: Tensor = self.decoder(states)
        return scores


class Flattening(nn.Module):
    """Calls `flatten_parameters` and reads sizes off its recurrent module."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, WIDTH)
        self.lstm = nn.LSTM(WIDTH, WIDTH, num_layers=2, batch_first=True, dropout=0.2)
        self.decoder = nn.Linear(WIDTH, TOKENS)

    def forward(self, tokens: Tensor) -> Tensor:
        self.lstm.flatten_parameters()
        zeros = torch.zeros(self.lstm.num_layers, len(tokens), self.lstm.hidden_size)
        scores: Tensor = self.decoder(self.lstm(self.embedding(tokens), hx=(zeros, zeros))[0])
        return scores


class Tied(nn.Module):
    """Uses the embedding as its output layer, by a function."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, WIDTH)
        self.gru = nn.GRU(WIDTH, WIDTH, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        return functional.linear(self.gru(self.embedding(tokens))[0], self.embedding.weight)


class Stateful(nn.Module):
    """Makes its own first state, takes keywords alone, and computes its own loss."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, WIDTH)
        self.lstm = nn.LSTM(WIDTH, WIDTH)
        self.decoder = nn.Linear(WIDTH, TOKENS)

    def init_hidden(self, batch: int) -> tuple[Tensor, Tensor]:
        weight = next(self.parameters())
        return weight.new_zeros(1, batch, WIDTH), weight.new_zeros(1, batch, WIDTH)

    def forward(self, *, ids: Tensor, hidden: tuple[Tensor, Tensor]) -> Tensor:
        states, _ = self.lstm(self.embedding(ids.T), hidden)
        scores: Tensor = self.decoder(states).transpose(0, 1)
        return scores

    def loss(self, ids: Tensor, labels: Tensor) -> Tensor:
        scores = self(ids=ids, hidden=self.init_hidden(len(ids)))
        return functional.cross_entropy(scores.flatten(0, 1), labels.flatten())


class Packed(nn.Module):
    """Reads sequences of several lengths, and names a class for each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, WIDTH, padding_idx=0)
        self.lstm = nn.LSTM(WIDTH, WIDTH, batch_first=True, num_layers=2)
        self.head = nn.Linear(WIDTH, 12)

    def forward(self, tokens: Tensor) -> Tensor:
        lengths = (tokens != 0).sum(dim=1)
        packed = pack_padded_sequence(
            self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False
        )
        scores: Tensor = self.head(self.lstm(packed)[1][0][-1])
        return scores


def _next_token(model: nn.Module, tokens: Tensor) -> Tensor:
    return functional.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def _own_loss(model: Any, tokens: Tensor) -> Tensor:
    loss: Tensor = model.loss(tokens[:, :-1], labels=tokens[:, 1:])
    return loss


def _class(model: nn.Module, tokens: Tensor) -> Tensor:
    lengths = torch.arange(len(tokens)) % 7 + 1
    padded = torch.where(torch.arange(tokens.shape[1]) < lengths[:, None], tokens + 1, 0) % TOKENS
    padded[:, 0] = 1 + tokens[:, 0] % (TOKENS - 1)
    return functional.cross_entropy(model(padded), tokens[:, 0] % 12)


BROUGHT: dict[str, tuple[type[nn.Module], Callable[[nn.Module, Tensor], Tensor]]] = {
    "transformer": (Transformer, _next_token),
    "flattening": (Flattening, _next_token),
    "tied": (Tied, _next_token),
    "stateful": (Stateful, _own_loss),
    "packed": (Packed, _class),
}


class Sequences(Task):
    """Learnable sequences: each token is the one before, plus one or two."""

    metric = "loss"

    def __init__(self, loss: Callable[[nn.Module, Tensor], Tensor]) -> None:
        self._loss = loss
        generator = torch.Generator().manual_seed(0)
        steps = torch.randint(1, 3, (160, 8), generator=generator)
        self.batches = (steps.cumsum(dim=1) % TOKENS).unfold(0, 20, 20).transpose(1, 2).unbind()

    def evaluate(self, model: nn.Module, split: Split) -> float:
        del split
        with torch.no_grad():
            return float(np.mean([self._loss(model, batch).item() for batch in self.batches]))

    def calibration_batches(self) -> Iterator[Tensor]:
        yield from self.batches

    def forward(self, model: nn.Module, batch: Tensor) -> Tensor:
        return self._loss(model, batch)

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[Tensor]:
        while True:
            for batch in self.batches:
                yield self._loss(model, batch)


def brought(name: str) -> tuple[nn.Module, Sequences]:
    """Return a model, a little trained, in training mode but for one module, and its task."""
    cls, loss = BROUGHT[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model, task = cls(), Sequences(loss)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(5):
            for batch in task.batches:
                optimizer.zero_grad()
                torch.autograd.backward(loss(model, batch))
                optimizer.step()
    model.train()
    model.get_submodule("embedding").eval()
    model.register_forward_hook(lambda *_: None)
    model.get_submodule("embedding").register_forward_pre_hook(lambda *_: None)
    return model, task


@dataclass(frozen=True)
class Snapshot:
    """All of a model, and of the generator of random numbers, that must not change."""

    fields: dict[str, Any]

    @classmethod
    def of(cls, model: nn.Module) -> Snapshot:
        modules = list(model.modules())
        return cls(
            {
                "ids": [id(tensor) for tensor in model.state_dict(keep_vars=True).values()],
                "classes": [type(module) for module in modules],
                "modes": [module.training for module in modules],
                "attributes": [sorted(vars(module)) for module in modules],
                "hooks": [
                    [list(value) for key, value in vars(module).items() if "hooks" in key]
                    for module in modules
                ],
                "dropout": [getattr(m, "p", getattr(m, "dropout", None)) for m in modules
                            if not isinstance(getattr(m, "dropout", None), nn.Module)],
                "gradients": [p.requires_grad for p in model.parameters()],
                "weights": [t.detach().numpy().copy() for t in model.state_dict().values()],
                "sums": [None if p.grad is None else p.grad.numpy().copy()
                         for p in model.parameters()],
                "random": torch.get_rng_state().numpy(),
            }
        )  # fmt: skip

    def check(self, model: nn.Module) -> None:
        """Fail where something is not what it was."""
        now = Snapshot.of(model).fields
        for name, value in self.fields.items():
            np.testing.assert_equal(now[name], value, err_msg=name)
