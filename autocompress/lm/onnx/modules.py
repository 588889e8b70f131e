"""Language models at work in ONNX Runtime, to be scored as a torch model is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from autocompress.engines.onnx.module import SessionModule

Arrays = list[NDArray[np.float32]]


class StepModel(SessionModule):
    """A step model that reads texts word by word, as it would where it is deployed."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        super().__init__(session)
        self._states, self._outputs = _states(session)

    def forward(
        self, words: Tensor, state: Sequence[Arrays] | None = None
    ) -> tuple[Tensor, Sequence[Arrays]]:
        """Score the next word after each word.

        Args:
            words: Int64 of shape (time, batch).
            state: What the previous call returned; None begins with zeros.

        Returns:
            The logits (time, batch, vocabulary) and the states, one list for each text.
        """
        zeros = [np.zeros((1, 1, width), np.float32) for width in self._states.values()]
        states = [zeros] * words.shape[1] if state is None else list(state)
        logits = []
        for column, text in enumerate(words.T.contiguous().numpy()):
            scores = []
            for word in text:
                feeds = dict(zip(self._states, states[column], strict=True))
                score, *states[column] = self.session.run(
                    self._outputs, {"words": word.reshape(1, 1), **feeds}
                )
                scores.append(score[0, 0])
            logits.append(np.stack(scores))
        return torch.from_numpy(np.stack(logits, axis=1)), states


class SequenceModel(SessionModule):
    """A sequence model that reads some words of all texts at once."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        super().__init__(session)
        self._states, self._outputs = _states(session)

    def forward(self, words: Tensor, state: Arrays | None = None) -> tuple[Tensor, Arrays]:
        """Score the next word after each word.

        Args:
            words: Int64 of shape (time, batch).
            state: What the previous call returned; None begins with zeros.

        Returns:
            The logits (time, batch, vocabulary) and the states, (1, batch, hidden) each.
        """
        if state is None:
            shapes = [(1, words.shape[1], width) for width in self._states.values()]
            state = [np.zeros(shape, np.float32) for shape in shapes]
        feeds = {"words": words.numpy(), **dict(zip(self._states, state, strict=True))}
        logits, *after = self.session.run(self._outputs, feeds)
        return torch.from_numpy(logits), after


def _states(session: onnxruntime.InferenceSession) -> tuple[dict[str, int], list[str]]:
    """Return the states by name with their width, and the names of what comes out."""
    states = {one.name: one.shape[2] for one in session.get_inputs() if one.name != "words"}
    return states, ["logits", *(f"{name}_next" for name in states)]
