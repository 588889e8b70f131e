"""A convolutional keyword spotter: the smallest file at no more than 1 % less accuracy.

    python examples/keyword_spotter.py

Trains a 1-D CNN with batch normalisation on short sounds, made here, of twenty "words"; then
searches, and loads what was found. The statistics of the norms stay exact in every file.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import autocompress

KEYWORDS, SAMPLES = 20, 1600
Batch = tuple[Tensor, Tensor]


def sounds(number: int, seed: int) -> Batch:
    """Return sounds (number, 1, SAMPLES) in noise, and which word each of them is.

    A word is three tones one after the other; speakers differ in pitch, speed and loudness.
    """
    pitches = torch.rand(KEYWORDS, 3, generator=torch.Generator().manual_seed(9))
    random = torch.Generator().manual_seed(seed)
    words = torch.randint(KEYWORDS, (number,), generator=random)
    pitch, speed, start, loudness = torch.rand(4, number, 1, generator=random)
    times = torch.arange(SAMPLES) * (0.9 + 0.4 * speed) - 300 * start
    part = (times / 450).floor().long()
    tones = 0.05 + 0.45 * pitches[words].gather(1, part.clamp(0, 2))
    phases = (tones * (0.95 + 0.1 * pitch)).cumsum(dim=1)
    clean = phases.sin() * ((part >= 0) & (part < 3)) * (0.3 + loudness)
    return (clean + 1.2 * torch.randn(number, SAMPLES, generator=random))[:, None], words


VALID, TEST = sounds(500, 0), sounds(500, 1)


def block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Return a convolution, its norm and what follows them."""
    convolution = nn.Conv1d(inputs, outputs, 9, stride, padding=4, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm1d(outputs), nn.ReLU())


class Spotter(nn.Sequential):
    """Gives scores (batch, words) to sounds (batch, 1, samples)."""

    def __init__(self) -> None:
        layers = [block(1, 24, 4), block(24, 48, 4), block(48, 48, 2), block(48, 64, 2)]
        pooled = nn.AdaptiveAvgPool1d(5), nn.Flatten(), nn.Linear(5 * 64, KEYWORDS)
        super().__init__(*layers, *pooled)


class Accuracy(autocompress.Task):
    """The share of sounds that are understood."""

    metric, direction = "accuracy", "maximize"

    def evaluate(self, model: nn.Module, split: str) -> float:
        """Return the accuracy on a split."""
        found, words = VALID if split == "valid" else TEST
        with torch.no_grad():
            return (model(found).argmax(dim=1) == words).float().mean().item()

    def calibration_batches(self) -> Iterator[Tensor]:
        """Yield some sounds to watch the model with."""
        yield next(batches(2))[0]

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[Tensor]:
        """Yield losses; their gradients tell which weights matter."""
        for found, words in batches(2):
            yield cross_entropy(model(found), words)


def batches(seed: int) -> Iterator[Batch]:
    """Yield 2000 training sounds, fifty at a time."""
    found, words = sounds(2000, seed)
    yield from zip(found.split(50), words.split(50), strict=True)


def trained() -> Spotter:
    """Return the model after it has heard 12,000 sounds."""
    torch.manual_seed(0)
    model = Spotter()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for seed in range(2, 8):
        for found, words in batches(seed):
            optimizer.zero_grad()
            cross_entropy(model(found), words).backward()
            optimizer.step()
    return model


def main() -> None:
    """Train, search, and use what was found."""
    model, task = trained(), Accuracy()
    result = autocompress.search(
        model, task, max_rise="1%", trials=14, out="runs/keyword_spotter", name="spotter"
    )
    before, after = result.baseline, result.best
    assert after is not None
    print(f"{before.size_bytes:,} bytes, test accuracy {before.test:.1%}")
    print(f"{after.size_bytes:,} bytes, test accuracy {after.test:.1%}: {after.artifact}")
    small = autocompress.load(after.artifact, Spotter())
    assert task.evaluate(small, "test") == after.test


if __name__ == "__main__":
    main()
