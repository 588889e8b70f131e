"""Perplexity."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from autocompress.lm.batches import columns, windows
from autocompress.lm.recurrence import recurrence_on_one_thread
from autocompress.support.device import device_of
from autocompress.support.threads import Threads

COLUMNS = 10
"""Of a text that is scored, read side by side."""


def perplexity(
    model: nn.Module, tokens: NDArray[np.int64], batch: int = COLUMNS, chunk: int = 35
) -> float:
    """Measure how well a model predicts each next word of a text, its state carried along.

    The text is laid out as `batch` columns, each of which begins with a state of zeros; the last
    `len(tokens) % batch` words are dropped.

    Args:
        model: Maps (words (time, batch), state) to (logits (time, batch, vocabulary), state).
        tokens: Word ids, int64 of shape (words,).
        batch: Columns that are read side by side.
        chunk: Words of a column that one call of the model reads. It changes the speed, not the
            result: 35 keeps the logits of 10,000 words at 14 MB.

    Returns:
        The exponential of the mean negative log-likelihood per word; infinity where the model
        gives no finite one.
    """
    return perplexity_of(losses_by_window(model, tokens, batch, chunk))


def perplexity_of(losses: Iterable[Tensor]) -> float:
    """Return the exponential of the mean of all losses; infinity where it is not finite."""
    total, words = 0.0, 0
    for window in losses:
        total += window.cpu().sum(dtype=torch.float64).item()
        words += window.numel()
    mean = total / words
    # exp of more than 709 overflows a float; a NaN compares false and becomes infinity too.
    return math.exp(mean) if mean < 709 else math.inf


def losses_by_window(
    model: nn.Module,
    tokens: NDArray[np.int64],
    batch: int = COLUMNS,
    chunk: int = 35,
    known: list[Tensor] | None = None,
) -> Iterator[Tensor]:
    """Yield the losses of one window of words after another, in nats, float32 of shape (words,).

    Args:
        model: As for `perplexity`.
        tokens: As for `perplexity`.
        batch: As for `perplexity`.
        chunk: As for `perplexity`.
        known: The losses of the first windows, which are not read again; those of further ones
            are added. With some, the model must know the state before the next window itself.
    """
    state = None
    known = [] if known is None else known
    threads, text = Threads(), columns(tokens, batch).to(device_of(model))
    # In one piece: a small tensor above each window's logits would keep their memory from reuse.
    kept = torch.empty((len(text) - 1) * batch, device=text.device)
    for window, (words, following) in enumerate(windows(text, chunk)):
        if window < len(known):
            yield known[window]
            continue
        was_training = model.training
        model.eval()
        try:
            with torch.inference_mode(), recurrence_on_one_thread(model), threads.step():
                logits, state = model(words, state)
                losses = functional.cross_entropy(
                    logits.flatten(0, 1), following.flatten(), reduction="none"
                )
        finally:
            model.train(was_training)
        place = kept[window * chunk * batch :][: len(losses)]
        known.append(place.copy_(losses))
        yield known[-1]
