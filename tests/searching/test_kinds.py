"""Models of every kind are searched and fine-tuned; a best that is loaded is what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from kinds import DTYPES, NextToken, check_untouched, computing, made, state

import autocompress
from autocompress.artifact import open_artifact
from autocompress.recovery import RecoveryBudget, RecoverySettings

SETTINGS = RecoverySettings(RecoveryBudget(steps=4), dropout=0.0, segments=2)
MODELS = {
    "linear, float32, storage": lambda: made("linear", "storage"),
    "lstm, bfloat16, storage": lambda: made("lstm", "storage", DTYPES["bfloat16"]),
    "gru, float64, one": lambda: made("gru", "one", DTYPES["float64"]),
    "convolution, float32, apart": lambda: made("convolution"),
    "cells, float32, one": lambda: made("cells", "one"),
    "transposed, float32, apart": lambda: made("transposed"),
    "attention, float64, storage": lambda: made("attention", "storage", DTYPES["float64"]),
    "own, float32, apart": lambda: made("own"),
    "lstm, spectral norm": lambda: computing("spectral_norm", "lstm"),
    "linear, pruned": lambda: computing("prune", "linear"),
}


FINE = {
    "norm.weight": "fp16",
    "norm.bias": "fp16",
    "transposed.norm.weight": "fp32",
    "scale": "fp16",
    "temperature": "fp32",
}
"""How a search stores what scales and shifts, and vectors of unknown use: never in few bits."""


def stored_finely(path: Path) -> dict[str, str]:
    """Return how such weights of a file are stored, by the names in `FINE`."""
    found = {line.name: line for line in open_artifact(path).report()}
    is_transposed = "layer.up.weight" in found
    names = {
        name: f"transposed.{name}" if is_transposed and name == "norm.weight" else name
        for name in (full.removeprefix("layer.") for full in found)
    }
    return {
        names[full.removeprefix("layer.")]: line.precision
        for full, line in found.items()
        if names[full.removeprefix("layer.")] in FINE
    }


@pytest.mark.parametrize("losses", [True, False], ids=["losses", "none"])
@pytest.mark.parametrize("kind", MODELS)
def test_the_best_is_what_was_measured(kind: str, losses: bool, out: Path) -> None:
    model, task = MODELS[kind](), NextToken(losses=losses)
    before = state(model)
    recovery = SETTINGS if losses else None
    result = autocompress.search(
        model, task, budget="4kB", trials=2, out=out, seed=0, recovery=recovery
    )
    check_untouched(model, before)
    assert result.baseline.values["loss"] == pytest.approx(
        task.evaluate(model.eval(), "valid"), rel=1e-5
    )
    assert result.front
    assert bool(result.recovered) == losses
    for trial in (*result.front, *result.recovered):
        loaded = autocompress.load(trial.artifact, MODELS[kind]())
        assert task.evaluate(loaded, "valid") == trial.values["loss"]
        if hasattr(model.embedding, "padding_idx") and model.embedding.padding_idx == 0:
            assert not loaded.embedding.weight[0].any()  # type: ignore[union-attr, index]
        for name, precision in stored_finely(trial.artifact).items():
            assert precision == FINE[name], name
        for name, buffer in loaded.named_buffers():
            assert torch.equal(buffer, model.get_buffer(name))


def test_an_embedding_that_rescales_its_rows_stays(out: Path) -> None:
    model, task = made(), NextToken()
    model.embedding.max_norm = 0.5
    before = state(model)
    for trials in (1, 2):
        autocompress.search(model, task, budget="4kB", trials=trials, out=out, seed=0)
        check_untouched(model, before)
