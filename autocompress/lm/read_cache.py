"""What was read of a text, kept for models that differ little and for those that read on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autocompress.lm.evaluate import losses_by_window
from autocompress.lm.model import LanguageModel, State

_OUTPUT = "decoder."
_LARGEST = 2**26  # numbers; 256 MB


class ReadCache:
    """The hidden states and losses on one text, of the model that read it last.

    They are kept window by window as the text is read. A model is told from another by all its
    tensors; hidden states serve all models that differ in the output layer alone. The recurrent
    layers take a third of a reading.
    """

    def __init__(self) -> None:
        self._keys = (b"", b"")
        self._states: list[tuple[Tensor, State]] = []
        self._losses: list[Tensor] = []

    def losses(self, model: nn.Module, tokens: NDArray[np.int64]) -> Iterator[Tensor]:
        """Yield what `losses_by_window` yields; what the model has read is not read again.

        Args:
            model: In evaluation mode; if it is no `LanguageModel`, or the states would take more
                than 256 MB, nothing is kept.
            tokens: The text, always the same.
        """
        if (
            not isinstance(model, LanguageModel)
            or len(tokens) * model.config.hidden_size > _LARGEST
        ):
            return losses_by_window(model, tokens)
        hidden, output = _digest(model, outer=False), _digest(model, outer=True)
        if hidden != self._keys[0]:
            self._states = []
        if (hidden, output) != self._keys:
            self._losses = []
        self._keys = hidden, output
        reader = _Remembering(model, self._states, self._losses)
        return losses_by_window(reader, tokens, known=self._losses)

    def __reduce__(self) -> tuple[type[ReadCache], tuple[()]]:
        """Go empty to another process."""
        return ReadCache, ()


class _Remembering(nn.Module):
    """Reads the first window whose losses are not known."""

    def __init__(
        self, model: LanguageModel, states: list[tuple[Tensor, State]], losses: list[Tensor]
    ) -> None:
        super().__init__()
        self.model = model
        self._states, self._losses = states, losses

    def forward(self, words: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        del state  # that before the window is kept
        window = len(self._losses)
        if window == len(self._states):
            before = self._states[-1][1] if self._states else None
            self._states.append(self.model.recur(words, before))
        hidden, after = self._states[window]
        return self.model.score(hidden), after


def _digest(model: nn.Module, *, outer: bool) -> bytes:
    """Hash the tensors of the output layer, or all others."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if name.startswith(_OUTPUT) == outer:
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.digest()
