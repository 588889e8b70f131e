"""Hidden states that are kept, for models that differ in their output layer alone."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from autocompress.lm.model import LanguageModel, State

_OUTPUT = "decoder."
_LARGEST = 2**26  # numbers; 256 MB


class HiddenStates:
    """The hidden states of the recurrent layers on one text, of the model that read it last.

    They are kept window by window as the text is read. A model is told from another by all its
    tensors but those of the output layer; the recurrent layers take a third of a reading.
    """

    def __init__(self) -> None:
        self._key = b""
        self._windows: list[tuple[Tensor, State]] = []

    def remembering(self, model: nn.Module, words: int) -> nn.Module:
        """Return a model that gives the same scores, as long as it reads the text from its start.

        Args:
            model: In evaluation mode while it is read with; if it is no `LanguageModel`, or the
                states would take more than 256 MB, it is returned as it is.
            words: Length of the text.
        """
        if not isinstance(model, LanguageModel) or words * model.config.hidden_size > _LARGEST:
            return model
        digest = hashlib.sha256()
        for name, tensor in model.state_dict().items():
            if not name.startswith(_OUTPUT):
                digest.update(name.encode())
                digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
        if digest.digest() != self._key:
            self._key, self._windows = digest.digest(), []
        return _Remembering(model, self._windows)

    def __reduce__(self) -> tuple[type[HiddenStates], tuple[()]]:
        """Go empty to another process."""
        return HiddenStates, ()


class _Remembering(nn.Module):
    def __init__(self, model: LanguageModel, known: list[tuple[Tensor, State]]) -> None:
        super().__init__()
        self.model = model
        self._known = known
        self._read = 0

    def forward(self, words: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        if self._read == len(self._known):
            self._known.append(self.model.recur(words, state))
        hidden, state = self._known[self._read]
        self._read += 1
        return self.model.score(hidden), state
