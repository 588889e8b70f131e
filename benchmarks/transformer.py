"""A Transformer language model: how small it becomes at 1 % more perplexity.

    python benchmarks/transformer.py DATA [--model FILE] [--epochs 5] [--tune 400steps]

Trains a causal Transformer of about five million weights (PyTorch's own layers, output layer tied
to the embedding) on DATA, then searches without retraining for the smallest file at +1 %, and for
the best of a twelfth of the size, which is then tuned without labels, towards the predictions of
the model itself.
Writes `benchmarks/results/transformer.{json,md}`. With `--model`, the trained weights are kept
there, or taken from there if they exist.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from ptb_small import RESULTS
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

import autocompress
from autocompress.lm import Corpus, read_corpus
from autocompress.outcome.objectives import Split
from autocompress.outcome.results import Scored, SearchResult
from autocompress.recovery import RecoveryBudget, RecoverySettings

WIDTH, HEADS, LAYERS, WINDOW, BATCH = 256, 4, 3, 64, 16


class Transformer(nn.Module):
    """Predicts each next word of windows of words."""

    mask: Tensor

    def __init__(self, n_words: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_words, WIDTH)
        self.position = nn.Embedding(WINDOW, WIDTH)
        self.drop = nn.Dropout(0.3)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, 0.2, functional.gelu, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, LAYERS, nn.LayerNorm(WIDTH), False)
        self.decoder = nn.Linear(WIDTH, n_words)
        nn.init.normal_(self.embedding.weight, std=0.05)
        nn.init.zeros_(self.decoder.bias)
        self.decoder.weight = self.embedding.weight
        mask = nn.Transformer.generate_square_subsequent_mask(WINDOW)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, words: Tensor) -> Tensor:
        """Return scores (batch, window, words) of what follows int64 words (batch, window)."""
        length = words.shape[1]
        x = 16 * self.embedding(words) + self.position(torch.arange(length))
        x = self.encoder(self.drop(x), mask=self.mask[:length, :length], is_causal=True)
        scores: Tensor = self.decoder(self.drop(x))
        return scores


def windows(words: Tensor, first: int) -> tuple[Tensor, Tensor]:
    """Cut int64 words into windows from one on: inputs and what follows, (windows, WINDOW)."""
    n_windows = (len(words) - first - 1) // WINDOW
    inputs = words[first : first + n_windows * WINDOW].view(-1, WINDOW)
    return inputs, words[first + 1 : first + 1 + n_windows * WINDOW].view(-1, WINDOW)


def shuffled(words: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a pass over the words as batches of windows, which begin elsewhere each time."""
    first = int(torch.randint(WINDOW, (), generator=generator))
    inputs, targets = windows(words, first)
    order = torch.randperm(len(inputs), generator=generator)
    for batch in torch.split(order, BATCH):
        yield inputs[batch], targets[batch]


def cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the mean loss per word, nats."""
    return functional.cross_entropy(scores.flatten(0, 1), targets.flatten())


class Prediction(autocompress.Task):
    """Perplexity over windows of a text, each read from its own beginning."""

    metric = "perplexity"

    def __init__(self, corpus: Corpus) -> None:
        self.splits = {
            name: torch.from_numpy(getattr(corpus, name)) for name in ("train", "valid", "test")
        }

    def evaluate(self, model: nn.Module, split: Split) -> float:
        """Return the perplexity of the whole split."""
        inputs, targets = windows(self.splits[split], 0)
        with torch.no_grad():
            batches = zip(torch.split(inputs, BATCH), torch.split(targets, BATCH), strict=True)
            total = sum(len(one) * float(cross_entropy(model(one), two)) for one, two in batches)
        return math.exp(total / len(inputs))

    def calibration_batches(self) -> Iterator[Tensor]:
        """Yield the training text, each word once."""
        yield from torch.split(windows(self.splits["train"], 0)[0], BATCH)

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[Tensor]:
        """Yield losses on labels, mixed with the divergence from the teacher's predictions."""
        generator = torch.Generator().manual_seed(seed)
        while True:
            for inputs, targets in shuffled(self.splits["train"], generator):
                scores = model(inputs).flatten(0, 1)
                loss = functional.cross_entropy(scores, targets.flatten())
                if distillation:
                    with torch.no_grad():
                        wanted = teacher(inputs).flatten(0, 1).log_softmax(-1)
                    divergence = functional.kl_div(
                        scores.log_softmax(-1), wanted, log_target=True, reduction="batchmean"
                    )
                    loss = (1 - distillation) * loss + distillation * divergence
                yield loss


def train(model: Transformer, task: Prediction, epochs: int) -> None:
    """Train a model; the learning rate rises at first, and then falls as a cosine does."""
    words, generator = task.splits["train"], torch.Generator().manual_seed(0)
    n_steps = epochs * (len(words) // WINDOW // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.5e-3, n_steps + epochs, pct_start=0.1)
    for epoch in range(epochs):
        model.train()
        for inputs, targets in shuffled(words, generator):
            optimizer.zero_grad()
            torch.autograd.backward(cross_entropy(model(inputs), targets))
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            rate.step()
        model.eval()
        print(f"epoch {epoch + 1}: perplexity {task.evaluate(model, 'valid'):.2f}", flush=True)


def trained(task: Prediction, n_words: int, epochs: int, path: Path | None) -> Transformer:
    """Return the model, trained now or read from a file."""
    torch.manual_seed(0)
    model = Transformer(n_words)
    if path is not None and path.exists():
        model.load_state_dict(load_file(path))
        return model.eval()
    train(model, task, epochs)
    if path is not None:
        tensors = {name: weight.clone() for name, weight in model.state_dict().items()}
        save_file(tensors, path)
    return model.eval()


def main() -> None:
    """Train, search, tune, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--tune", default="400steps")
    arguments = parser.parse_args()
    corpus = read_corpus(arguments.data)
    task = Prediction(corpus)
    model = trained(task, len(corpus.vocabulary), arguments.epochs, arguments.model)
    tuning = RecoverySettings(RecoveryBudget.parse(arguments.tune), dropout=0.0, distillation=1.0)
    with TemporaryDirectory() as folder:
        out = Path(folder)
        smallest = autocompress.search(
            model, task, max_rise="1%", trials=arguments.trials, out=out / "rise"
        )
        tuned = autocompress.search(
            model,
            task,
            budget=smallest.baseline.size_bytes // 12,
            trials=4,
            tuning=tuning,
            out=out / "budget",
        )
    assert smallest.best is not None
    rows = [
        row("single precision", smallest, smallest.baseline),
        row("smallest at +1 %, without retraining", smallest, smallest.best),
        row("a twelfth, without retraining", tuned, min(tuned.front, key=tuned.rise)),
        row(f"a twelfth, tuned without labels for {tuning.budget}", tuned, tuned.tuned[0]),
        row(
            f"control: single precision, tuned alike for {tuning.budget}", tuned, tuned.controls[0]
        ),
    ]
    n_weights = sum(weight.numel() for weight in model.parameters())
    (RESULTS / "transformer.json").write_text(json.dumps(rows, indent=1) + "\n")
    (RESULTS / "transformer.md").write_text(table(rows, n_weights, arguments.epochs))


def row(name: str, result: SearchResult, scored: Scored) -> dict[str, Any]:
    """Return the figures of one model."""
    return {
        "name": name,
        "size_bytes": scored.size_bytes,
        "times_smaller": result.ratio(scored),
        "valid": scored.values["perplexity"],
        "rise": result.rise(scored),
        "test": scored.test,
    }


def table(rows: list[dict[str, Any]], n_weights: int, epochs: int) -> str:
    """Return the figures as a table."""
    head = [
        "| model | file, bytes | times smaller | valid perplexity | change | test perplexity |",
        "|---|---|---|---|---|---|",
    ]
    lines = [
        f"| {one['name']} | {one['size_bytes']:,} | {one['times_smaller']:.1f} "
        f"| {one['valid']:.2f} | {one['rise']:+.2%} | {one['test']:.2f} |"
        for one in rows
    ]
    note = f"A Transformer of {n_weights:,} weights, trained for {epochs} epochs."
    return "\n".join([*head, *lines, "", note]) + "\n"


if __name__ == "__main__":
    main()
