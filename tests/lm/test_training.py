"""Training, breaking off, and continuing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from autocompress.errors import CorpusError, ModelError
from autocompress.lm import (
    PRESETS,
    Corpus,
    Hyperparameters,
    Vocabulary,
    load_model,
    perplexity,
    preset,
    train,
)
from autocompress.lm import training as train_module
from autocompress.lm.checkpoint import (
    History,
    load_checkpoint,
    read_settings,
    save_checkpoint,
)
from autocompress.lm.config import LanguageModelConfig
from autocompress.lm.model import LanguageModel

TINY = Hyperparameters(
    hidden_size=16,
    epochs=4,
    initial_epochs=2,
    decay=0.5,
    dropout=0.2,
    init_scale=0.1,
    max_gradient_norm=5.0,
    steps=7,
    batch=10,
    learning_rate=0.01,
    optimizer="adam",
)
SGD = replace(TINY, optimizer="sgd", learning_rate=1.0, init_scale=0.5)


@pytest.fixture
def corpus() -> Corpus:
    """A text in which each word mostly tells the next."""
    rng = np.random.default_rng(1)
    steps = rng.choice([1, 2], size=2600, p=[0.9, 0.1])
    tokens = np.cumsum(steps) % 12
    words = ("<unk>", "<eos>", *(f"w{number}" for number in range(10)))
    return Corpus(Vocabulary(words), tokens[:2000], tokens[2000:2300], tokens[2300:], "toy")


def read_record(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "training.json").read_text())
    record.pop("seconds")
    return record


def test_presets_hold_the_numbers_of_the_papers() -> None:
    names = ("small", "medium", "large")
    table = {
        "hidden_size": (200, 650, 1500),
        "num_layers": (2, 2, 2),
        "steps": (20, 35, 35),
        "batch": (20, 20, 20),
        "init_scale": (0.1, 0.05, 0.04),
        "max_gradient_norm": (5, 5, 10),
        "initial_epochs": (4, 6, 14),
        "epochs": (13, 39, 55),
        "dropout": (0.0, 0.5, 0.65),
        "decay": (0.5, 0.8, 0.87),
        "learning_rate": (1.0, 1.0, 1.0),
        "optimizer": ("sgd", "sgd", "sgd"),
    }
    for name, row in table.items():
        assert tuple(getattr(PRESETS[size], name) for size in names) == row
    with pytest.raises(ModelError, match=r"small, medium, large, demo, got 'huge'"):
        preset("huge")


def test_learning_rate_decays_after_the_initial_epochs() -> None:
    rates = [PRESETS["small"].learning_rate_at(epoch) for epoch in range(6)]
    assert rates == [1.0, 1.0, 1.0, 1.0, 0.5, 0.25]


@pytest.mark.parametrize("hyper", [TINY, SGD], ids=["adam", "sgd"])
def test_training_learns_and_keeps_the_best_model(
    tmp_path: Path, corpus: Corpus, hyper: Hyperparameters
) -> None:
    out = train(corpus, hyper, tmp_path / "m")
    model, vocabulary = load_model(out)
    record = read_record(out)
    best = perplexity(model, corpus.valid)
    assert vocabulary == corpus.vocabulary
    assert best == min(record["perplexities"]["valid"]) == record["valid_perplexity"]
    assert best < 6  # twelve words, drawn at random, would give 12
    assert len(record["perplexities"]["train"]) == 4
    assert not (out / "checkpoint").exists()


@pytest.mark.parametrize("hyper", [TINY, SGD], ids=["adam", "sgd"])
@pytest.mark.parametrize("where", ["train_epoch", "save_model", "save_checkpoint"])
def test_a_continued_run_equals_an_unbroken_one(
    tmp_path: Path,
    corpus: Corpus,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    hyper: Hyperparameters,
) -> None:
    whole = train(corpus, hyper, tmp_path / "whole", seed=3)
    original = getattr(train_module, where)
    for allowed in (1, 2):  # broken off twice, each time further on
        calls = 0

        def interrupt(*arguments: Any, allowed: int = allowed) -> Any:
            nonlocal calls
            calls += 1
            if calls > allowed:
                raise KeyboardInterrupt
            return original(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(train_module, where, interrupt)
            with pytest.raises(KeyboardInterrupt):
                train(corpus, hyper, tmp_path / "broken", seed=3)
        assert not (tmp_path / "broken" / "training.json").exists()
        torch.rand(5)  # the random numbers that others draw in between must not matter
    broken = train(corpus, hyper, tmp_path / "broken", seed=3)
    assert (broken / "model.safetensors").read_bytes() == (
        whole / "model.safetensors"
    ).read_bytes()
    assert read_record(broken) == read_record(whole)


def test_training_leaves_the_callers_random_numbers_alone(tmp_path: Path, corpus: Corpus) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    train(corpus, replace(TINY, epochs=1), tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_a_finished_run_returns_at_once(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(corpus, replace(TINY, epochs=1), tmp_path)
    monkeypatch.delattr(train_module, "train_epoch")
    assert train(corpus, replace(TINY, epochs=1), tmp_path) == tmp_path


def test_a_folder_of_another_training_is_refused(tmp_path: Path, corpus: Corpus) -> None:
    hyper = replace(TINY, epochs=1)
    train(corpus, hyper, tmp_path)
    with pytest.raises(ModelError, match=r"\(seed 0 != 1\)"):
        train(corpus, hyper, tmp_path, seed=1)
    with pytest.raises(ModelError, match=r"\(epochs 1 != 4\)"):
        train(corpus, TINY, tmp_path)
    with pytest.raises(ModelError, match=r"\(corpus "):
        train(replace(corpus, test=corpus.valid), hyper, tmp_path)
    (tmp_path / "training.json").write_text("{}")
    with pytest.raises(ModelError, match=r"training.json is damaged"):
        train(corpus, hyper, tmp_path)
    (tmp_path / "training.json").unlink()
    with pytest.raises(ModelError, match="unknown training"):
        train(corpus, hyper, tmp_path)


def test_a_damaged_checkpoint_is_refused(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_module, "train_epoch", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(corpus, TINY, tmp_path)
    path = tmp_path / "checkpoint" / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match="delete it to train from the start"):
        train(corpus, TINY, tmp_path)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("settings", "[]"),
        ("settings", "{"),
        ("settings", "[" * 10**5),
        ("history", "null"),
        ("history", '{"train": 1, "valid": [], "seconds": 0}'),
        ("history", '{"train": [], "valid": ["x"], "seconds": 0}'),
        ("history", '{"train": [], "valid": [], "seconds": 0, "x": 1}'),
    ],
)
def test_a_checkpoint_that_says_something_else_is_refused(
    key: str, text: str, tmp_path: Path
) -> None:
    model = LanguageModel(LanguageModelConfig("rnn", 3, 2, 2))
    optimizer = torch.optim.SGD(model.parameters())
    save_checkpoint(tmp_path, model, optimizer, {"seed": 1}, History([1.0], [2.0], 3.0))
    assert read_settings(tmp_path) == {"seed": 1}
    assert load_checkpoint(tmp_path, model, optimizer) == History([1.0], [2.0], 3.0)
    path = tmp_path / "checkpoint.safetensors"
    with safe_open(path, "pt") as file:
        metadata = {**file.metadata(), key: text}
    save_file(load_file(path), path, metadata)
    with pytest.raises(ModelError, match="delete it to train from the start"):
        read_settings(tmp_path) and load_checkpoint(tmp_path, model, optimizer)


def test_diverging_and_short_texts_are_refused(tmp_path: Path, corpus: Corpus) -> None:
    with pytest.raises(ModelError, match=r"diverged in epoch 1: .* lower learning_rate"):
        train(corpus, replace(SGD, learning_rate=1e30), tmp_path / "a")
    with pytest.raises(CorpusError, match="at least 20 words, the text has 9"):
        train(replace(corpus, valid=corpus.valid[:9]), TINY, tmp_path / "b")
