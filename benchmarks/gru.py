"""Another cell, and a tied weight: what the same bits per weight cost a GRU and an LSTM.

    python benchmarks/gru.py DATA MODEL [--gru FOLDER]

Trains a tied GRU of 2x200 units for two epochs on DATA, then compresses MODEL to three sizes and
the GRU to the same bits per weight, both by plans fitted without a search and without retraining.
Bits per weight count the whole file but for the vocabulary. Writes
`benchmarks/results/gru.{json,md}`. With `--gru`, the trained GRU is kept there, or taken from
there if it is finished.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from fitting import fitted_plan
from ptb_small import RESULTS

from autocompress.artifact import open_artifact
from autocompress.encoding.encoder import uncompressed_plan
from autocompress.lm import (
    Corpus,
    LanguageModel,
    LanguageModeling,
    load_model,
    preset,
    read_corpus,
    train,
)
from autocompress.outcome.limits import Budget
from autocompress.plan import CompressionPlan
from autocompress.trial.evaluator import Evaluator

SIZES = ("1.5MB", "1.15MB", "800kB")
# The settings of the small model, the learning rate halved after the first pass.
SETTINGS = replace(preset("small"), epochs=2, initial_epochs=1, cell="gru", tied=True)


@dataclass(frozen=True)
class Stored:
    """A model in a file.

    Attributes:
        size_bytes: Length of the file.
        bits: Bits per weight, of all but the vocabulary.
        valid: Perplexity of the model reloaded from it, over the validation set.
        rise: Change of that perplexity against the uncompressed model, as a share.
    """

    size_bytes: int
    bits: float
    valid: float
    rise: float


class Subject:
    """A model to be stored in files of given sizes."""

    def __init__(self, model: LanguageModel, corpus: Corpus, folder: Path) -> None:
        self.evaluator = Evaluator.of(model, LanguageModeling(corpus))
        self._path = folder / "model.acz"
        self.n_weights = sum(weight.numel() for weight in model.parameters())
        self.valid = self._measure(uncompressed_plan(self.evaluator.source))[1]
        self.vocabulary_bytes = open_artifact(self._path).accounting()["assets"]

    def at(self, limit_bytes: int) -> Stored:
        """Store the model in no more than so many bytes, and measure it."""
        plan = fitted_plan(self.evaluator.source, Budget(limit_bytes))
        size, valid = self._measure(plan)
        return Stored(size, self.bits(size), valid, valid / self.valid - 1)

    def bits(self, size_bytes: int) -> float:
        """Return the bits per weight of a file."""
        return 8 * (size_bytes - self.vocabulary_bytes) / self.n_weights

    def limit(self, bits: float) -> int:
        """Return the length of a file of so many bits per weight."""
        return round(bits * self.n_weights / 8) + self.vocabulary_bytes

    def _measure(self, plan: CompressionPlan) -> tuple[int, float]:
        result = self.evaluator.run(0, plan, self._path)
        return result.size_bytes, result.values["perplexity"]


def main() -> None:
    """Train, compress both, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--gru", type=Path)
    arguments = parser.parse_args()
    model, vocabulary = load_model(arguments.model)
    corpus = read_corpus(arguments.data, vocabulary)
    with TemporaryDirectory() as folder:
        trained, _ = load_model(train(corpus, SETTINGS, arguments.gru or Path(folder) / "gru"))
        lstm = Subject(model, corpus, Path(folder))
        gru = Subject(trained, corpus, Path(folder))
        pairs = []
        for size in SIZES:
            stored = lstm.at(Budget.parse(size).limit_bytes)
            pairs.append((stored, gru.at(gru.limit(stored.bits))))
    write(lstm, gru, pairs)


def write(lstm: Subject, gru: Subject, pairs: Sequence[tuple[Stored, Stored]]) -> None:
    """Keep the figures, as JSON and as a table."""
    document = {
        name: {
            "weights": subject.n_weights,
            "vocabulary_bytes": subject.vocabulary_bytes,
            "valid": subject.valid,
            "stored": [asdict(pair[index]) for pair in pairs],
        }
        for index, (name, subject) in enumerate((("lstm", lstm), ("gru", gru)))
    }
    (RESULTS / "gru.json").write_text(json.dumps(document, indent=1) + "\n")
    (RESULTS / "gru.md").write_text(table(lstm, gru, pairs))


def table(lstm: Subject, gru: Subject, pairs: Sequence[tuple[Stored, Stored]]) -> str:
    """Return the figures side by side; the ratio is that of the rises."""
    head = [
        f"{cell}, bits per weight | {cell}, bytes | {cell}, valid perplexity | {cell}, rise"
        for cell in ("LSTM", "GRU")
    ]
    lines = [f"| {head[0]} | {head[1]} | ratio |", "|" + "---|" * 9]
    lines.append(f"| 32 | | {lstm.valid:.2f} | | 32 | | {gru.valid:.2f} | | |")
    lines += [
        f"| {_cells(first)} | {_cells(second)} | {second.rise / first.rise:.2f} |"
        for first, second in pairs
    ]
    note = (
        f"The LSTM has {lstm.n_weights:,} weights, the GRU, whose output layer is its embedding, "
        f"{gru.n_weights:,}; it was trained for {SETTINGS.epochs} epochs. Bits per weight leave "
        f"out the vocabulary of {lstm.vocabulary_bytes:,} bytes, which is part of either file."
    )
    lines += ["", note]
    return "\n".join(lines) + "\n"


def _cells(stored: Stored) -> str:
    return f"{stored.bits:.3f} | {stored.size_bytes:,} | {stored.valid:.2f} | {stored.rise:+.2%}"


if __name__ == "__main__":
    main()
