"""Next-word prediction, as a keyboard does it."""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from autocompress.artifact import Artifact
from autocompress.engines.onnx.session import open_session
from autocompress.lm.carried_words import carried_vocabulary
from autocompress.lm.onnx.build import build
from autocompress.lm.onnx.stepper import Stepper


class Predictor:
    """Reads words in ONNX Runtime and says which may come next.

    Attributes:
        vocabulary: The words that it knows.
        words: How many it has read.
        seconds: How long that took.
    """

    def __init__(self, artifact: Artifact, top_k: int | None = None) -> None:
        """Export the artifact and begin where a sentence ends.

        Args:
            artifact: Of a language model, with its vocabulary.
            top_k: How many words to predict, or None for the probabilities of all.

        Raises:
            ArtifactError: If it holds no vocabulary.
            ExportError: If it holds no language model, or `top_k` is out of its range.
        """
        session = open_session(build(artifact, top_k=top_k).SerializeToString())
        self.vocabulary = carried_vocabulary(artifact)
        self._step = Stepper(session)
        self.words, self.seconds = 0, 0.0
        self._read(self.vocabulary.encode([self.vocabulary.end_of_sentence]).tolist())

    def read(self, text: str) -> None:
        """Read a text, words set apart by white space.

        Raises:
            CorpusError: If it has unknown words, and the vocabulary none that stands for them.
        """
        self._read(self.vocabulary.encode(text.split(), "the text").tolist())

    def likely(self) -> list[tuple[str, float]]:
        """Return the `top_k` likeliest next words with their probabilities."""
        words = self._step.scores["top_words"].ravel().tolist()
        shares = self._step.scores["top_probabilities"].ravel().tolist()
        return [
            (self.vocabulary.words[one], share) for one, share in zip(words, shares, strict=True)
        ]

    def continue_with(self, generator: np.random.Generator) -> str:
        """Draw a next word by its probability, read it and return it; never the unknown word."""
        logits = self._step.scores["logits"].ravel().astype(np.float64)
        logits[self.vocabulary.ids.get(self.vocabulary.unknown, [])] = -np.inf
        odds: NDArray[np.float64] = np.exp(logits - logits.max())
        word = int(generator.choice(odds.size, p=odds / odds.sum()))
        self._read([word])
        return self.vocabulary.words[word]

    def _read(self, ids: Iterable[int]) -> None:
        start = time.perf_counter()
        for word in ids:
            self._step(word)
            self.words += 1
        self.seconds += time.perf_counter() - start
