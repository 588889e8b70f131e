"""Language modelling as a task."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from autocompress.knowledge.task import Task
from autocompress.lm.batches import check_length, columns, windows
from autocompress.lm.corpus import Corpus
from autocompress.lm.evaluate import COLUMNS, losses_by_window, perplexity_of
from autocompress.lm.model import LanguageModel, detach_state
from autocompress.lm.read_cache import ReadCache
from autocompress.outcome.about import DataDescription, Serving
from autocompress.outcome.objectives import Split
from autocompress.support.device import device_of

SERVED_BY = "autocompress.lm.serving:NextWords"
_EXAMPLE = 4
_BATCH = 20
_STEPS = 35


class LanguageModeling(Task):
    """Predicting each next word of a corpus, scored by perplexity."""

    metric = "perplexity"

    def __init__(self, corpus: Corpus) -> None:
        """Take a corpus.

        Raises:
            CorpusError: A split is too short to be read; so that it is found now, rather than
                after all trials.
        """
        for split, text, n_columns in (
            ("train", corpus.train, _BATCH),
            ("valid", corpus.valid, COLUMNS),
            ("test", corpus.test, COLUMNS),
        ):
            check_length(text, n_columns, f"{corpus.name} ({split})")
        self.corpus = corpus
        self._read = ReadCache()

    def evaluate(self, model: nn.Module, split: Split) -> float:
        """Measure the perplexity over a whole split."""
        return perplexity_of(self._losses(model, split))

    def part_losses(self, model: nn.Module, split: Split) -> Iterator[float]:
        """Yield the mean loss per word, nats, of windows of 35 steps in 10 columns of a split."""
        for losses in self._losses(model, split):
            yield losses.cpu().mean(dtype=torch.float64).item()

    def _losses(self, model: nn.Module, split: Split) -> Iterator[Tensor]:
        """Yield the losses of a split window by window; what is read of "valid" is kept."""
        if split == "test":
            return losses_by_window(model, self.corpus.test)
        return self._read.losses(model, self.corpus.valid)

    def calibration_batches(self) -> Iterator[Tensor]:
        """Yield the training split as int64 tensors of shape (at most 35, 20): (time, batch)."""
        for words, _ in windows(columns(self.corpus.train, _BATCH), _STEPS):
            yield words

    def forward(self, model: nn.Module, batch: Tensor) -> Tensor:
        """Compute the logits (time, batch, vocabulary) of a batch, from a state of zeros."""
        logits: Tensor = model(batch.to(device_of(model)))[0]
        return logits

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[Tensor]:
        """Yield cross-entropy per word, mixed with the divergence from the teacher's prediction.

        Passes over the training split have no end. The state is carried from window to window,
        and each pass begins its columns at other words.
        """
        generator = np.random.default_rng(seed)
        while True:
            start = int(generator.integers(len(self.corpus.train)))
            text = columns(np.roll(self.corpus.train, -start), _BATCH).to(device_of(model))
            state = teacher_state = None
            for words, following in windows(text, _STEPS):
                logits, state = model(words, state)
                state = detach_state(state)
                scores = logits.flatten(0, 1)
                loss = functional.cross_entropy(scores, following.flatten())
                if distillation:
                    with torch.no_grad():
                        target, teacher_state = teacher(words, teacher_state)
                    divergence = functional.kl_div(
                        scores.log_softmax(-1),
                        target.flatten(0, 1).log_softmax(-1),
                        log_target=True,
                        reduction="batchmean",
                    )
                    loss = (1 - distillation) * loss + distillation * divergence
                yield loss

    def row_frequencies(self, model: nn.Module) -> Mapping[str, NDArray[np.float64]]:
        """Count the training words, whose ids are the rows of embedding and decoder."""
        size = len(self.corpus.vocabulary)
        counts = np.bincount(self.corpus.train, minlength=size).astype(np.float64)
        named = dict(model.named_parameters())  # a tied weight is named once, as the embedding's
        names = ("embedding.weight", "decoder.weight")
        return {name: counts for name in names if name in named and named[name].shape[0] == size}

    def fingerprint(self) -> str:
        """Hash the vocabulary and the three splits with SHA-256."""
        return fingerprint(self.corpus)

    def assets(self) -> Mapping[str, bytes]:
        """Name the vocabulary, without which the ids mean nothing."""
        return {"vocab.txt": self.corpus.vocabulary.to_bytes()}

    def model_config(self, model: nn.Module) -> Mapping[str, Any] | None:
        """Describe a `LanguageModel`; nothing is known of any other module."""
        if not isinstance(model, LanguageModel):
            return None
        return model.config.for_artifact()

    def describe_data(self) -> DataDescription:
        """Describe the corpus: its name, and how many words it has."""
        corpus = self.corpus
        words = {"train": corpus.train, "valid": corpus.valid, "test": corpus.test}
        profile: dict[str, float | str] = {f"{name} words": len(w) for name, w in words.items()}
        profile["vocabulary"] = len(corpus.vocabulary)
        return DataDescription(corpus.name, self.fingerprint(), profile)

    def serving(self, model: nn.Module) -> Serving | None:
        """Serve a `LanguageModel` by text: the likeliest next words and their probabilities."""
        if not isinstance(model, LanguageModel):
            return None
        words = self.corpus.vocabulary.words
        first = [words[number] for number in self.corpus.valid[:_EXAMPLE].tolist()]
        end = self.corpus.vocabulary.end_of_sentence
        text = " ".join(word for word in first if word != end)
        return Serving(SERVED_BY, example={"text": [text]}, params={"top_k": 3})


def fingerprint(corpus: Corpus) -> str:
    """Hash the vocabulary and the three splits of a corpus with SHA-256; its name is left out."""
    digest = hashlib.sha256()
    splits = (split.astype("<i8").tobytes() for split in (corpus.train, corpus.valid, corpus.test))
    for part in (corpus.vocabulary.to_bytes(), *splits):
        # With the lengths, no two corpora that are cut differently give the same bytes.
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()
