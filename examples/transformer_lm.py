"""A Transformer language model: the smallest file at no more than 1 % more perplexity.

    python examples/transformer_lm.py

Trains a causal Transformer on sentences whose verbs agree with subjects that stand before a
relative clause, which takes attention; then searches, and loads what was found.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import autocompress

NOUNS = ["cat", "dog", "bird", "king", "cook", "clerk", "nurse", "judge", "pilot", "poet"]
VERBS = ["see", "know", "like", "help", "hear", "call"]
ADVERBS = ["here", "often", "today", "again", "never", "twice"]
WORDS = ["<pad>", ".", "the", "that", *ADVERBS]
WORDS += [word + ending for word in NOUNS + VERBS for ending in ("", "s")]
WIDTH, LONGEST = 64, 16


def sentence(random: Random) -> list[str]:
    """Return words such as "the cats that the judge knows see the dog often."."""

    def noun_phrase(depth: int) -> tuple[list[str], str]:
        ending = random.choice(["", "s"])
        words = ["the", random.choice(NOUNS) + ending]
        if depth:
            subject, other = noun_phrase(depth - 1)
            words += ["that", *subject, random.choice(VERBS) + ("" if other else "s")]
        return words, ending

    subject, ending = noun_phrase(random.choice([0, 1, 1, 2]))
    verb = random.choice(VERBS) + ("" if ending else "s")
    return [*subject, verb, *noun_phrase(0)[0], random.choice(ADVERBS), "."]


def sentences(number: int, seed: int) -> Tensor:
    """Return int64 words (number, LONGEST + 1), each row one sentence with padding behind it."""
    random = Random(seed)
    rows = [[WORDS.index(word) for word in sentence(random)] for _ in range(number)]
    return torch.tensor([row + [0] * (LONGEST + 1 - len(row)) for row in rows])


TRAIN, VALID, TEST = sentences(4000, 0), sentences(500, 1), sentences(500, 2)


class Transformer(nn.Module):
    """Gives scores to each next word; its output layer is the table of words."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(WORDS), WIDTH, padding_idx=0)
        self.position = nn.Embedding(LONGEST, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.decoder = nn.Linear(WIDTH, len(WORDS))
        self.decoder.weight = self.embedding.weight

    def forward(self, words: Tensor) -> Tensor:
        """Return scores (batch, time, words) for int64 words (batch, time)."""
        mask = nn.Transformer.generate_square_subsequent_mask(words.shape[1])
        x = 8 * self.embedding(words) + self.position(torch.arange(words.shape[1]))
        scores: Tensor = self.decoder(self.encoder(x, mask=mask, is_causal=True))
        return scores


def loss_of(model: nn.Module, words: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of the words that follow."""
    return cross_entropy(model(words[:, :-1]).mT, words[:, 1:], ignore_index=0)


class Perplexity(autocompress.Task):
    """How well the next word is foreseen; 1 would be perfect."""

    metric = "perplexity"

    def evaluate(self, model: nn.Module, split: str) -> float:
        """Return the perplexity on a split."""
        with torch.no_grad():
            return math.exp(loss_of(model, VALID if split == "valid" else TEST))

    def calibration_batches(self) -> Iterator[Tensor]:
        """Yield some words to watch the model with."""
        yield TRAIN[:50, :-1]

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[Tensor]:
        """Yield losses; their gradients tell which weights matter."""
        for batch in TRAIN.split(50):
            yield loss_of(model, batch)


def trained() -> Transformer:
    """Return the model after four passes over the training sentences."""
    torch.manual_seed(0)
    model = Transformer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
    for _ in range(4):
        for batch in TRAIN[torch.randperm(len(TRAIN))].split(50):
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            optimizer.step()
    return model


def main() -> None:
    """Train, search, and use what was found."""
    model, task = trained(), Perplexity()
    result = autocompress.search(
        model, task, max_rise="1%", trials=8, out="runs/transformer_lm", name="transformer"
    )
    before, after = result.baseline, result.best
    assert after is not None
    print(f"{before.size_bytes:,} bytes, test perplexity {before.test:.3f}")
    print(f"{after.size_bytes:,} bytes, test perplexity {after.test:.3f}: {after.artifact}")
    small = autocompress.load(after.artifact, Transformer())
    assert task.evaluate(small, "test") == after.test


if __name__ == "__main__":
    main()
