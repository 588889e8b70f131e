"""A convolutional network with batch normalisation: how small it gets at half a point of accuracy.

    python benchmarks/cnn.py [--model FILE] [--out FOLDER] [--trials N]

Trains a network of six convolutions to read handwritten digits that are turned, scaled, shifted
and covered by noise and by pieces of other digits, for about a minute on one core. The
digits are those of scikit-learn, on which MLFlow depends. Then searches for the best file of a
tenth of its size in single precision, and of less, each without retraining, and of the smallest
also with fine-tuning. Writes `benchmarks/results/cnn.{json,md}`. With `--model`, the trained
network is kept there, or taken from there; with `--out`, the searches are kept, and continued.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn import functional

import autocompress

RESULTS = Path(__file__).parent / "results"
RATIOS = (10, 20)
TUNED_RATIO, STEPS = 20, "150steps"
SIDE, NOISE, PIECES = 16, 0.15, 1
BATCH, EPOCHS, RATE = 64, 3, 0.005
N_TRAIN, N_HELD_OUT = 16000, 3000
WIDTHS = ((24, 1), (24, 2), (48, 1), (48, 2), (96, 1), (96, 1))
"""Channels and stride of each convolution."""


def network() -> nn.Sequential:
    """Return a network of convolutions, each normalised and rectified, and a linear layer."""
    layers: list[nn.Module] = []
    channels = 1
    for width, stride in WIDTHS:
        layers += [
            nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def images(digits: Tensor, labels: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Make images, (count, 1, 16, 16), of digits (n, 8, 8) chosen at random; and their labels."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    def placed(chosen: Tensor, shift: float) -> Tensor:
        angle, scale = uniform(-0.4, 0.4, len(chosen)), uniform(1.1, 1.8, len(chosen))
        turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1)
        moves = uniform(-shift, shift, len(chosen), 2, 1)
        grid = functional.affine_grid(
            torch.cat([turn.reshape(-1, 2, 2) * scale[:, None, None], moves], dim=2),
            [len(chosen), 1, SIDE, SIDE],
            align_corners=False,
        )
        return functional.grid_sample(chosen[:, None], grid, align_corners=False)

    picks = torch.randint(len(digits), (count,), generator=generator)
    image = placed(digits[picks], 0.4)
    for _ in range(PIECES):  # the rest of other digits, three pixels wide
        others = digits[torch.randint(len(digits), (count,), generator=generator)].clone()
        others[:, :, 3:] = 0
        image = image + 0.8 * placed(others, 2.0)
    image = image + NOISE * torch.randn(image.shape, generator=generator)
    return (image - image.mean()) / image.std(), labels[picks]


class Digits(autocompress.Task):
    """Accuracy in percent on digits that no training image was made of."""

    metric = "accuracy"
    direction = "maximize"

    def __init__(self) -> None:
        found: Any = load_digits()
        order = np.random.default_rng(0).permutation(len(found.target))
        digits = torch.from_numpy(found.images[order]).float() / 16
        labels = torch.from_numpy(found.target[order])
        parts = {"train": slice(0, 1100), "valid": slice(1100, 1450), "test": slice(1450, None)}
        sizes = {"train": N_TRAIN, "valid": N_HELD_OUT, "test": N_HELD_OUT}
        self.splits = {
            name: images(digits[part], labels[part], sizes[name], seed)
            for seed, (name, part) in enumerate(parts.items())
        }

    def evaluate(self, model: nn.Module, split: str) -> float:
        """Return the share that is read rightly."""
        x, y = self.splits[split]
        with torch.no_grad():
            parts = zip(torch.split(x, 500), torch.split(y, 500), strict=True)
            right = [(model(one).argmax(dim=1) == label) for one, label in parts]
        return 100 * float(torch.cat(right).float().mean())

    def calibration_batches(self) -> Iterator[Tensor]:
        """Yield images."""
        for x, _ in self.batches(0):
            yield x

    def batches(self, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the training images once, in an order of a seed."""
        x, y = self.splits["train"]
        order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
        for some in torch.split(order, BATCH):
            yield x[some], y[some]

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[Tensor]:
        """Yield cross entropies."""
        del teacher, distillation
        while True:
            for x, y in self.batches(seed):
                yield functional.cross_entropy(model(x), y)
            seed += 1


def train(task: Digits) -> nn.Sequential:
    """Train a network."""
    torch.manual_seed(0)
    model = network()
    steps = EPOCHS * -(-N_TRAIN // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    losses = task.training_losses(model, model, 0.0, 0)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(next(losses))
        optimizer.step()
        schedule.step()
    return model.eval()


@dataclass(frozen=True)
class Stored:
    """A network in a file.

    Attributes:
        what: How it was made.
        size_bytes: Length of the file.
        ratio: How many times smaller than the weights and statistics in single precision.
        valid: Accuracy in percent, on the images by which plans are chosen.
        test: Accuracy in percent, on images that were read once.
    """

    what: str
    size_bytes: int
    ratio: float
    valid: float
    test: float


def main() -> None:
    """Train, search, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--trials", type=int, default=8)
    arguments = parser.parse_args()
    task = Digits()
    model = _trained(task, arguments.model)
    plain_bytes = sum(tensor.nbytes for tensor in model.state_dict().values())
    tests = task.evaluate(model, "test")
    rows = [Stored("single precision", plain_bytes, 1.0, task.evaluate(model, "valid"), tests)]
    with TemporaryDirectory() as temporary:
        folder = arguments.out or Path(temporary)
        for ratio in RATIOS:
            found = autocompress.search(
                model,
                task,
                budget=plain_bytes // ratio,
                trials=arguments.trials,
                out=folder / str(ratio),
                recovery=STEPS if ratio == TUNED_RATIO else None,
            )
            best = max(found.front, key=lambda one: one.values["accuracy"])
            for what, scored in (("compressed", best), *(("tuned", r) for r in found.recovered)):
                loaded = autocompress.load(scored.artifact, network())
                rows.append(
                    Stored(
                        what,
                        scored.size_bytes,
                        plain_bytes / scored.size_bytes,
                        scored.values["accuracy"],
                        task.evaluate(loaded, "test"),
                    )
                )
            write(rows, sum(weight.numel() for weight in model.parameters()))


def _trained(task: Digits, path: Path | None) -> nn.Sequential:
    if path is not None and path.exists():
        model = network().eval()
        model.load_state_dict(torch.load(path, weights_only=True))
        return model
    model = train(task)
    if path is not None:
        torch.save(model.state_dict(), path)
    return model


def write(rows: list[Stored], n_weights: int) -> None:
    """Keep the figures, as JSON and as a table."""
    document = {"weights": n_weights, "stored": [asdict(row) for row in rows]}
    (RESULTS / "cnn.json").write_text(json.dumps(document, indent=1) + "\n")
    lines = [
        "| | bytes | times smaller | valid accuracy | test accuracy | points lost |",
        "|" + "---|" * 6,
    ]
    lines += [
        f"| {row.what} | {row.size_bytes:,} | {row.ratio:.1f} | {row.valid:.2f} % | "
        f"{row.test:.2f} % | {rows[0].test - row.test:.2f} |"
        for row in rows
    ]
    note = (
        f"A network of {n_weights:,} weights and the statistics of its norms; {N_HELD_OUT:,} "
        "images for either accuracy. Plans are chosen by the first."
    )
    (RESULTS / "cnn.md").write_text("\n".join([*lines, "", note]) + "\n")


if __name__ == "__main__":
    main()
