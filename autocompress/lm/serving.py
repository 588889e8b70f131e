"""Next words as an answer to requests: what MLflow serves of a language model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autocompress.artifact import open_artifact
from autocompress.engines.onnx.session import open_session
from autocompress.lm.carried_words import carried_vocabulary
from autocompress.lm.onnx.build import build
from autocompress.lm.onnx.stepper import Stepper


class NextWords:
    """Says which words may come next after texts. It runs in ONNX Runtime."""

    def __init__(self, artifact: str | os.PathLike[str]) -> None:
        """Open an artifact of a language model.

        Raises:
            ArtifactError, ExportError: If it is none, or damaged.
        """
        opened = open_artifact(artifact)
        self._session = open_session(build(opened).SerializeToString())
        self._words = carried_vocabulary(opened)

    def predict(self, inputs: Any, top_k: int = 3) -> Any:
        """Return the likeliest next words after each text.

        Args:
            inputs: A table with the column "text", or texts. Words are set apart by white space;
                each text begins where a sentence ends.
            top_k: How many words.

        Returns:
            A table with a row for each text: "words", the likeliest first, and "probabilities".

        Raises:
            CorpusError: If a text has unknown words, and the vocabulary none that stands for them.
        """
        from pandas import DataFrame

        rows = [self._likely(text, top_k) for text in _texts(inputs)]
        return DataFrame(rows, columns=["words", "probabilities"])

    def _likely(self, text: str, top_k: int) -> tuple[list[str], list[float]]:
        words = [self._words.end_of_sentence, *text.split()]
        step = Stepper(self._session)
        for word in self._words.encode(words, "the text").tolist():
            step(word)
        logits: NDArray[np.float64] = step.scores["logits"].ravel().astype(np.float64)
        odds = np.exp(logits - logits.max())
        shares = odds / odds.sum()
        best = np.argsort(-shares, kind="stable")[:top_k].tolist()
        return [self._words.words[one] for one in best], [float(shares[one]) for one in best]


def _texts(inputs: Any) -> Iterable[str]:
    if isinstance(inputs, str):
        return [inputs]
    if isinstance(inputs, Mapping) or hasattr(inputs, "columns"):
        inputs = inputs["text"]
        return [inputs] if isinstance(inputs, str) else [str(text) for text in inputs]
    return [str(text) for text in inputs]
