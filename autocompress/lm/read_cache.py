"""What was read of a text, kept for models that differ little and for those that read on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autocompress.lm.evaluate import COLUMNS, losses_by_window
from autocompress.lm.model import LanguageModel, State

_OUTPUT = "decoder."
_LARGEST = 2**26  # numbers; 256 MB


class ReadCache:
    """The hidden states and losses on one text, of the model that read it last.

    They are kept as far as the text is read. A model is told from another by all its
    tensors; hidden states serve all models that differ in the output layer alone. The recurrent
    layers take a third of a reading.
    """

    def __init__(self) -> None:
        self._keys = (b"", b"")
        self._states = _States()
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
            self._states = _States()
        if (hidden, output) != self._keys:
            self._losses = []
        self._keys = hidden, output
        reader = _Remembering(model, self._states, self._losses, len(tokens) // COLUMNS)
        return losses_by_window(reader, tokens, known=self._losses)

    def __reduce__(self) -> tuple[type[ReadCache], tuple[()]]:
        """Go empty to another process."""
        return ReadCache, ()


@dataclass
class _States:
    """The hidden states of a text, as far as it was read.

    Attributes:
        hidden: Of shape (time, batch, hidden), in one piece, as small tensors between large ones
            that are freed would keep their memory from reuse; None before the first window.
        reached: The steps after which the windows end, from 0 on, and the state after them; one
            attribute, as an interrupt between two would leave them at odds.
    """

    hidden: Tensor | None = None
    reached: tuple[tuple[int, ...], State | None] = ((0,), None)


class _Remembering(nn.Module):
    """Reads the first window whose losses are not known."""

    def __init__(
        self, model: LanguageModel, states: _States, losses: list[Tensor], steps: int
    ) -> None:
        super().__init__()
        self.model = model
        self._states, self._losses, self._steps = states, losses, steps

    def forward(self, words: Tensor, state: State | None = None) -> tuple[Tensor, State | None]:
        del state  # that after the last window that was read is kept
        window, states = len(self._losses), self._states
        ends, last = states.reached
        if window == len(ends) - 1:
            hidden, last = self.model.recur(words, last)
            if states.hidden is None:
                states.hidden = hidden.new_empty(self._steps, *hidden.shape[1:])
            ends = (*ends, ends[-1] + len(hidden))
            states.hidden[ends[-2] : ends[-1]] = hidden
            states.reached = ends, last
        assert states.hidden is not None
        return self.model.score(states.hidden[ends[window] : ends[window + 1]]), None


def _digest(model: nn.Module, *, outer: bool) -> bytes:
    """Hash the tensors of the output layer, or all others."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if name.startswith(_OUTPUT) == outer:
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.digest()
