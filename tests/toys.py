"""What several tests use: a small classifier, its task, and where evaluation data lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from autocompress import Task
from autocompress.outcome.objectives import Split

SHARED = Path(__file__).parents[2] / "shared"
PTB, PTB_SMALL = SHARED / "data" / "ptb", SHARED / "models" / "ptb-small"
needs_ptb = pytest.mark.skipif(
    not (PTB.is_dir() and PTB_SMALL.is_dir()),
    reason="shared/data/ptb and shared/models/ptb-small lie beside the checkout only in CI",
)


class Classifier(nn.Module):
    """An LSTM over token ids that names one of three classes."""

    def __init__(self, n_tokens: int = 30, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_tokens, width)
        self.lstm = nn.LSTM(width, width, num_layers=2, batch_first=True)
        self.head = nn.Linear(width, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.lstm(self.embedding(tokens))
        logits: torch.Tensor = self.head(hidden[:, -1])
        return logits


class Classification(Task):
    """Synthetic sequences whose class is that of a teacher network."""

    metric, direction = "accuracy", "maximize"

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.tokens = torch.randint(30, (400, 8), generator=generator)

    def evaluate(self, model: nn.Module, split: Split) -> float:
        part = self.tokens[:200] if split == "valid" else self.tokens[200:]
        with torch.no_grad():
            return float((model(part).argmax(1) == teacher()(part).argmax(1)).float().mean())

    def calibration_batches(self) -> Iterator[torch.Tensor]:
        yield self.tokens[:20]

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        while True:
            batch = torch.randint(30, (32, 8), generator=generator)
            yield nn.functional.mse_loss(model(batch), teacher(batch))

    def row_frequencies(self, model: nn.Module) -> Mapping[str, NDArray[np.float64]]:
        counts = np.bincount(self.tokens.numpy().ravel(), minlength=30).astype(np.float64)
        return {"embedding.weight": counts}


def teacher() -> Classifier:
    """Return the network that defines the classes; the same one every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = Classifier().eval()
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(4)
            model.head.bias.zero_()  # or else nearly all sequences are of one class
        return model


def write_corpus(folder: Path, lines: Mapping[str, list[str]]) -> Path:
    """Write train.txt, valid.txt and test.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, texts in lines.items():
        (folder / f"{split}.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    return folder


def toy_corpus(folder: Path, seed: int = 0) -> Path:
    """Write a corpus of random sentences over forty words with a skewed distribution."""
    generator = np.random.default_rng(seed)
    words = [f"word{number}" for number in range(38)] + ["<unk>"]
    odds = 1 / np.arange(1, len(words) + 1)

    def sentences(count: int) -> list[str]:
        return [
            " ".join(generator.choice(words, size=9, p=odds / odds.sum())) for _ in range(count)
        ]

    return write_corpus(
        folder, {"train": sentences(300), "valid": sentences(60), "test": sentences(60)}
    )


def toy_model(folder: Path, corpus: Path, **changes: Any) -> Path:
    """Write an untrained language model for a corpus."""
    from autocompress.lm import LanguageModel, LanguageModelConfig, read_corpus, save_model

    vocabulary = read_corpus(corpus).vocabulary
    settings: dict[str, Any] = {
        "cell": "lstm",
        "vocab_size": len(vocabulary),
        "embedding_size": 16,
        "hidden_size": 16,
        "num_layers": 2,
        **changes,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = LanguageModel(LanguageModelConfig(**settings))
    save_model(folder, model, vocabulary)
    return folder
