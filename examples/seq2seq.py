"""A sequence-to-sequence model with attention: dates as people write them become ISO dates.

    python examples/seq2seq.py

Trains a GRU that reads "Tue, 3rd of March 1987" and another one that writes "1987-03-03", looking
at what was read; then searches for the smallest file at no more than 2 % fewer dates that are
right in all places, and loads it.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from random import Random

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import autocompress

CHARACTERS = "\0 ,./-'0123456789abcdefghijklmnopqrstuvwxyz"
FORMS = ["%a, %d of %B %Y", "%d %b %Y", "%B %d, '%y", "%A %d.%m.%Y", "%b %d %Y", "%d/%m/%y"]
WIDTH, LONGEST, LENGTH = 64, 30, 10
Batch = tuple[Tensor, Tensor]


def dates(number: int, seed: int) -> Batch:
    """Return dates as they are written (number, LONGEST) and meant (number, LENGTH), as int64."""
    random = Random(seed)
    written, meant = [], []
    for _ in range(number):
        date = datetime.date(1970, 1, 1) + datetime.timedelta(days=random.randrange(18000))
        text = date.strftime(random.choice(FORMS)).lower()
        written.append([CHARACTERS.index(character) for character in text.ljust(LONGEST, "\0")])
        meant.append([CHARACTERS.index(character) for character in date.isoformat()])
    return torch.tensor(written), torch.tensor(meant)


TRAIN, VALID, TEST = dates(4000, 0), dates(500, 1), dates(500, 2)


class Translator(nn.Module):
    """Reads characters in both directions, and writes one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(CHARACTERS), WIDTH)
        self.reader = nn.GRU(WIDTH, WIDTH // 2, batch_first=True, bidirectional=True)
        self.writer = nn.GRUCell(2 * WIDTH, WIDTH)
        self.query = nn.Linear(WIDTH, WIDTH, bias=False)
        self.head = nn.Linear(2 * WIDTH, len(CHARACTERS))

    def forward(self, written: Tensor, meant: Tensor | None = None) -> Tensor:
        """Return scores (batch, LENGTH, characters).

        Each step reads the character that came out of the one before, or that of `meant`.
        """
        read, _ = self.reader(self.embedding(written))
        state = seen = read.mean(dim=1)
        last = torch.zeros_like(written[:, 0])
        scores = []
        for step in range(LENGTH):
            state = self.writer(torch.cat([self.embedding(last), seen], dim=1), state)
            odds = (read @ self.query(state)[:, :, None]).softmax(dim=1)
            seen = (odds * read).sum(dim=1)
            scores.append(self.head(torch.cat([state, seen], dim=1)))
            last = scores[-1].argmax(dim=1) if meant is None else meant[:, step]
        return torch.stack(scores, dim=1)


class WholeDates(autocompress.Task):
    """The share of dates that are right in all places."""

    metric, direction = "right", "maximize"

    def evaluate(self, model: nn.Module, split: str) -> float:
        """Return the share on a split."""
        written, meant = VALID if split == "valid" else TEST
        with torch.no_grad():
            return (model(written).argmax(dim=2) == meant).all(dim=1).float().mean().item()

    def calibration_batches(self) -> Iterator[Tensor]:
        """Yield some dates to watch the model with."""
        yield TRAIN[0][:50]

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[Tensor]:
        """Yield losses; their gradients tell which weights matter."""
        for written, meant in batches():
            yield cross_entropy(model(written, meant).mT, meant)


def batches() -> Iterator[Batch]:
    """Yield the training dates, fifty at a time."""
    yield from zip(TRAIN[0].split(50), TRAIN[1].split(50), strict=True)


def trained() -> Translator:
    """Return the model after three passes over the training dates."""
    torch.manual_seed(0)
    model = Translator()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(3):
        for written, meant in batches():
            optimizer.zero_grad()
            cross_entropy(model(written, meant).mT, meant).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    return model


def main() -> None:
    """Train, search, and use what was found."""
    model, task = trained(), WholeDates()
    result = autocompress.search(model, task, max_rise="2%", trials=8, out="runs/seq2seq")
    before, after = result.baseline, result.best
    assert after is not None
    print(f"{before.size_bytes:,} bytes, right test dates {before.test:.1%}")
    print(f"{after.size_bytes:,} bytes, right test dates {after.test:.1%}: {after.artifact}")
    small = autocompress.load(after.artifact, Translator())
    assert task.evaluate(small, "test") == after.test


if __name__ == "__main__":
    main()
