"""Models, their folders, and perplexity."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from autocompress.architectures import ARCHITECTURES
from autocompress.errors import CorpusError, ModelError
from autocompress.lm import (
    LanguageModel,
    LanguageModelConfig,
    Vocabulary,
    detach_state,
    load_model,
    perplexity,
    save_model,
)

VOCABULARY = Vocabulary(("<unk>", "<eos>", *(f"w{number}" for number in range(15))))
VALUES: dict[str, Any] = {
    "cell": "lstm",
    "vocab_size": 17,
    "embedding_size": 6,
    "hidden_size": 6,
    "num_layers": 2,
    "dropout": 0.25,
    "tied": False,
    "bias": True,
    "end_of_sentence": "<eos>",
    "unknown": "<unk>",
}


def make_model(**changes: object) -> LanguageModel:
    torch.manual_seed(5)
    model = LanguageModel(LanguageModelConfig.from_json({**VALUES, **changes}))
    for weight in model.parameters():
        nn.init.uniform_(weight, -1, 1)
    return model


ALL_KINDS = pytest.mark.parametrize(
    "changes",
    [
        {"cell": cell, "tied": tied, "bias": bias}
        for cell in ("lstm", "gru", "rnn")
        for tied in (False, True)
        for bias in (False, True)
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)


@ALL_KINDS
def test_perplexity_equals_a_computation_word_by_word(changes: dict[str, object]) -> None:
    model = make_model(**changes)
    tokens = np.random.default_rng(3).integers(0, 17, 95)
    losses = []
    model.eval()
    with torch.no_grad():
        for column in tokens[:92].reshape(4, 23):
            state = None
            for word, following in pairwise(column):
                logits, state = model(torch.tensor([[word]]), state)
                losses.append(-logits[0, 0].double().log_softmax(0)[following].item())
    expected = math.exp(sum(losses) / len(losses))
    model.train()
    assert perplexity(model, tokens, batch=4, chunk=5) == pytest.approx(expected, rel=1e-6)
    assert perplexity(model, tokens, batch=4) == perplexity(model, tokens, batch=4)
    assert model.training


def test_perplexity_keeps_the_number_of_threads_even_when_the_model_fails() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        perplexity(make_model(), np.zeros(40, dtype=np.int64))
        assert torch.get_num_threads() == 2
        with pytest.raises(IndexError):
            perplexity(make_model(), np.full(40, 99, dtype=np.int64))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_artifacts_describe_how_the_model_is_built() -> None:
    description = LanguageModelConfig(**VALUES).for_artifact()
    assert LanguageModelConfig.of_artifact(description) == LanguageModelConfig(**VALUES)
    model = ARCHITECTURES[description["architecture"]](description)
    assert isinstance(model, LanguageModel)
    assert model.config == LanguageModelConfig(**VALUES)
    for other in (None, {}, VALUES, {"architecture": "other"}):
        assert LanguageModelConfig.of_artifact(other) is None
    with pytest.raises(ModelError, match="missing: bias"):
        ARCHITECTURES["recurrent_lm"]({k: v for k, v in description.items() if k != "bias"})


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e30])
def test_perplexity_of_a_broken_model_is_infinite(bad: float) -> None:
    model = make_model()
    with torch.no_grad():
        model.decoder.weight[0] = bad
    tokens = np.arange(60) % 17
    assert perplexity(model, tokens, batch=2) == math.inf


def test_perplexity_refuses_a_text_that_is_too_short() -> None:
    with pytest.raises(CorpusError, match="at least 20 words, the text has 19"):
        perplexity(make_model(), np.zeros(19, dtype=np.int64))


def test_forward_gives_logits_and_a_state_that_can_be_detached() -> None:
    for cell in ("lstm", "gru"):
        model = make_model(cell=cell)
        logits, state = model(torch.zeros(3, 2, dtype=torch.int64))
        assert logits.shape == (3, 2, 17)
        parts = state if isinstance(state, tuple) else (state,)
        assert all(part.requires_grad and part.shape == (2, 2, 6) for part in parts)
        detached = detach_state(state)
        parts = detached if isinstance(detached, tuple) else (detached,)
        assert not any(part.requires_grad for part in parts)


def test_a_single_layer_with_dropout_does_not_warn() -> None:
    assert make_model(num_layers=1, dropout=0.5)(torch.zeros(1, 1, dtype=torch.int64))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell": "qrnn"}, "one of lstm, gru, rnn, got 'qrnn'"),
        ({"hidden_size": 0}, "hidden_size must be 1 or more, got 0"),
        ({"num_layers": True}, "num_layers must be of type int"),
        ({"dropout": 1.0}, "less than 1, got 1.0"),
        ({"dropout": math.nan}, "less than 1, got nan"),
        ({"tied": True, "hidden_size": 7}, "equal, got 6 and 7"),
        ({"tied": 1}, "tied must be of type bool"),
        ({"heads": 8}, "unknown: heads"),
    ],
)
def test_bad_configs_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        LanguageModelConfig.from_json({**VALUES, **changes})


@ALL_KINDS
def test_a_model_survives_its_folder(tmp_path: Path, changes: dict[str, object]) -> None:
    model = make_model(**changes)
    save_model(tmp_path / "m", model, VOCABULARY)
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [
        "config.json",
        "model.safetensors",
        "vocab.txt",
    ]
    loaded, vocabulary = load_model(tmp_path / "m")
    assert vocabulary == VOCABULARY
    assert loaded.config == model.config
    assert not loaded.training
    expected = dict(model.named_parameters())
    assert list(load_file(tmp_path / "m" / "model.safetensors").keys()) == sorted(expected)
    for name, weight in loaded.named_parameters():
        assert torch.equal(weight, expected[name])
        assert weight.requires_grad
    assert (loaded.decoder.weight is loaded.embedding.weight) == changes["tied"]


def edit_config(**changes: object) -> Callable[[Path], object]:
    return lambda folder: (folder / "config.json").write_text(json.dumps({**VALUES, **changes}))


def edit_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        path = folder / "model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)

    return edit


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json cannot be read"),
        (lambda folder: (folder / "vocab.txt").unlink(), "vocab.txt cannot be read"),
        (
            lambda folder: (folder / "model.safetensors").unlink(),
            "safetensors or the like, .*none",
        ),
        (lambda folder: (folder / "config.json").write_text("{"), "not valid JSON"),
        (lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe"), "not valid JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "JSON object, got list"),
        (lambda folder: (folder / "config.json").write_text("{}"), "config.json: .*missing: bias"),
        (edit_config(cell="gru"), r"missing: gru\.bias.*not expected: lstm"),
        (edit_config(num_layers=1), "missing: none; not expected: lstm.bias_hh_l1"),
        (edit_config(hidden_size=10**7), "must be of shape"),
        (edit_config(hidden_size=10**30), "no model can be as large"),
        (edit_config(num_layers=10**9), "num_layers must be at most 1000"),
        (edit_config(**{"a\nb": 1}), r"unknown: a b"),
        (lambda folder: (folder / "config.json").write_text("[" * 10**5), "nested too deeply"),
        (edit_config(vocab_size=18), "18 words, .* has 17"),
        (
            lambda folder: (folder / "vocab.txt").write_text("a\na\n"),
            "vocab.txt: .*more than once",
        ),
        (truncate, "model.safetensors is damaged"),
        (edit_weights(lambda t: t.pop("decoder.bias")), "missing: decoder.bias"),
        (edit_weights(lambda t: t.update(x=torch.zeros(1))), "not expected: x"),
        (
            edit_weights(lambda t: t.update({"decoder.bias": torch.zeros(16)})),
            r"decoder.bias must be of shape \(17,\), got \(16,\)",
        ),
        (
            edit_weights(lambda t: t["decoder.weight"][:2, 0].fill_(math.nan)),
            "2 of the 102 numbers of decoder.weight are NaN",
        ),
    ],
)
def test_bad_folders_are_refused_in_one_line(
    tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    save_model(tmp_path, make_model(), VOCABULARY)
    load_model(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is none at"):
        load_model(tmp_path / "nowhere")


def test_nothing_is_saved_of_a_model_that_could_not_be_loaded(tmp_path: Path) -> None:
    model = make_model()
    with pytest.raises(ModelError, match="17 words"):
        save_model(tmp_path / "m", model, Vocabulary(("a",)))
    with torch.no_grad():
        model.get_parameter("lstm.weight_hh_l0")[0, 0] = math.inf
    with pytest.raises(ModelError, match=r"lstm\.weight_hh_l0"):
        save_model(tmp_path / "m", model, VOCABULARY)
    assert not (tmp_path / "m").exists()
