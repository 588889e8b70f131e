"""Budgets in bytes: exact against the uncompressed model's file, and never below its frame."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from toys import Classification, Classifier

from autocompress.encoding.budgets import budget_in_bytes
from autocompress.encoding.encoder import Encoder, uncompressed_plan
from autocompress.errors import BudgetError
from autocompress.knowledge.source import Source


class Masked(Classifier):
    """A classifier with a buffer, and rows of zeros in its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.arange(300.0))
        with torch.no_grad():
            self.embedding.weight[3:7] = 0


@pytest.mark.parametrize("model", [Classifier(), Masked()], ids=["plain", "buffer"])
def test_times_smaller_are_against_the_very_file_of_the_uncompressed_model(
    model: nn.Module, tmp_path: Path
) -> None:
    task, path = Classification(), tmp_path / "model.acz"
    source = Source.of(model, task)
    Encoder(source).write(uncompressed_plan(source), path)
    size = path.stat().st_size
    assert budget_in_bytes("1x", model, task) == size
    assert budget_in_bytes("8x", model, task) == size // 8
    n_weights = sum(weight.numel() for weight in model.parameters())
    assert budget_in_bytes("4bpw", model, task) == n_weights // 2
    assert budget_in_bytes("90kB", model, task) == 90_000


def test_what_no_file_can_keep_is_refused_and_the_least_named() -> None:
    for model, parts in ((Classifier(), "header"), (Masked(), "header, tensors that are no")):
        with pytest.raises(BudgetError, match=rf"`budget >= .* kB` must hold.*\({parts}"):
            budget_in_bytes("500", model, Classification())
