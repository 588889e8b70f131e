"""A bidirectional LSTM that tags words: the most accurate file of at most 20 kB.

    python examples/tagger.py

Trains on sentences of different lengths, packed, in which many words are nouns or verbs by what
stands before and behind them; then searches under a budget, and loads what was found.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import autocompress

TAGS = ["<pad>", "determiner", "adjective", "noun", "verb", "adverb"]
SENTENCES = ["1 2 3 4 5", "1 3 4 1 3", "3 4 3", "1 2 2 3 5 4 1 2 3", "3 5 4 2 3", "4 1 3 5 4 3"]
WORDS_OF_ONE_TAG, AMBIGUOUS = 100, range(500, 700)  # the latter may be nouns or verbs
WIDTH, LONGEST = 48, 12
Batch = tuple[Tensor, Tensor]


def sentences(number: int, seed: int) -> Batch:
    """Return int64 words and tags (number, LONGEST), both 0 behind a sentence's end."""
    random = Random(seed)
    words, tags = torch.zeros(2, number, LONGEST, dtype=torch.int64)
    for row in range(number):
        for place, tag in enumerate(map(int, random.choice(SENTENCES).split())):
            tags[row, place] = tag
            words[row, place] = 1 + random.randrange(WORDS_OF_ONE_TAG) + 100 * (tag - 1)
            if tag in (3, 4) and random.random() < 0.8:
                words[row, place] = random.choice(AMBIGUOUS)
    return words, tags


TRAIN, VALID, TEST = sentences(2000, 0), sentences(500, 1), sentences(500, 2)


class Tagger(nn.Module):
    """Reads a sentence in both directions and gives each word scores of tags."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(AMBIGUOUS.stop, WIDTH, padding_idx=0)
        self.lstm = nn.LSTM(WIDTH, WIDTH, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * WIDTH, len(TAGS))

    def forward(self, words: Tensor) -> Tensor:
        """Return scores (batch, time, tags) for int64 words (batch, time)."""
        lengths = (words != 0).sum(dim=1)
        packed = pack_padded_sequence(self.embedding(words), lengths, True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.lstm(packed)[0], True, total_length=words.shape[1])
        scores: Tensor = self.head(states)
        return scores


class Accuracy(autocompress.Task):
    """The share of words with the right tag."""

    metric, direction = "accuracy", "maximize"

    def evaluate(self, model: nn.Module, split: str) -> float:
        """Return the accuracy on a split."""
        words, tags = VALID if split == "valid" else TEST
        with torch.no_grad():
            right = model(words).argmax(dim=2) == tags
        return right[words != 0].float().mean().item()

    def calibration_batches(self) -> Iterator[Tensor]:
        """Yield some sentences to watch the model with."""
        yield TRAIN[0][:50]

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[Tensor]:
        """Yield losses; their gradients tell which weights matter."""
        for words, tags in batches():
            yield cross_entropy(model(words).mT, tags, ignore_index=0)


def batches() -> Iterator[Batch]:
    """Yield the training sentences, fifty at a time."""
    yield from zip(TRAIN[0].split(50), TRAIN[1].split(50), strict=True)


def trained() -> Tagger:
    """Return the model after three passes over the training sentences."""
    torch.manual_seed(0)
    model = Tagger()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(3):
        for words, tags in batches():
            optimizer.zero_grad()
            cross_entropy(model(words).mT, tags, ignore_index=0).backward()
            optimizer.step()
    return model


def main() -> None:
    """Train, search, and use what was found."""
    model, task = trained(), Accuracy()
    result = autocompress.search(model, task, budget="20kB", trials=6, out="runs/tagger")
    before, after = result.baseline, result.best
    assert after is not None
    print(f"{before.size_bytes:,} bytes, test accuracy {before.test:.2%}")
    print(f"{after.size_bytes:,} bytes, test accuracy {after.test:.2%}: {after.artifact}")
    small = autocompress.load(after.artifact, Tagger())
    assert task.evaluate(small, "test") == after.test


if __name__ == "__main__":
    main()
