"""Texts cut into columns that are read side by side, and columns cut into windows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autocompress.errors import CorpusError


def columns(tokens: NDArray[np.int64], batch: int) -> Tensor:
    """Lay a text out as `batch` columns; the last `len(tokens) % batch` words are dropped.

    Args:
        tokens: Word ids of shape (words,).
        batch: Columns.

    Returns:
        Word ids, int64 of shape (words // batch, batch).

    Raises:
        CorpusError: The text is too short for two words a column.
    """
    check_length(tokens, batch)
    kept = torch.from_numpy(tokens[: len(tokens) - len(tokens) % batch])
    return kept.view(batch, -1).t().contiguous()


def check_length(tokens: NDArray[np.int64], batch: int, name: str = "the text") -> None:
    """Refuse a text that is too short for two words a column.

    Args:
        tokens: Word ids of shape (words,).
        batch: Columns.
        name: What the error calls the text.

    Raises:
        CorpusError: It is too short.
    """
    if len(tokens) < 2 * batch:
        raise CorpusError(
            f"{batch} columns need at least {2 * batch} words, {name} has {len(tokens)}; give a "
            "longer text"
        )


def windows(text: Tensor, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut columns into windows of `steps` words, the last one perhaps shorter.

    Args:
        text: Word ids of shape (time, batch).
        steps: The most words of a column in one window.

    Yields:
        Words and the word after each of them, both of shape (at most steps, batch).
    """
    for start in range(0, len(text) - 1, steps):
        stop = min(start + steps, len(text) - 1)
        yield text[start:stop], text[start + 1 : stop + 1]


def count_windows(text: Tensor, steps: int) -> int:
    """Count what `windows` yields."""
    return -(-(len(text) - 1) // steps)
