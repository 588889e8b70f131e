"""The task of language modelling."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from autocompress.errors import CorpusError
from autocompress.lm import (
    Corpus,
    LanguageModel,
    LanguageModelConfig,
    LanguageModeling,
    Vocabulary,
    perplexity,
)


@pytest.fixture
def corpus() -> Corpus:
    rng = np.random.default_rng(0)
    train, valid, test = (rng.integers(0, 4, size) for size in (1500, 50, 60))
    return Corpus(Vocabulary(("<unk>", "<eos>", "a", "b", "c")), train, valid, test, "toy")


def make_model(tied: bool = False) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(LanguageModelConfig("gru", 5, 4, 4, tied=tied))


def test_evaluate_is_the_perplexity_of_the_split(corpus: Corpus) -> None:
    task, model = LanguageModeling(corpus), make_model()
    assert (task.metric, task.direction) == ("perplexity", "minimize")
    assert task.evaluate(model, "valid") == perplexity(model, corpus.valid)
    assert task.evaluate(model, "test") == perplexity(model, corpus.test)


def test_windows_that_were_read_are_not_read_again(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    original = LanguageModel.score

    def watched(self: LanguageModel, hidden: Any) -> Any:
        reads.append(hidden)
        return original(self, hidden)

    monkeypatch.setattr(LanguageModel, "score", watched)
    longer = replace(corpus, valid=np.tile(corpus.valid, 40))
    task, model = LanguageModeling(longer), make_model(False)
    first = list(islice(task.part_losses(model, "valid"), 2))
    assert len(reads) == 2
    found = task.evaluate(model, "valid")
    parts = list(task.part_losses(model, "valid"))
    assert len(reads) == len(parts) > 3
    assert parts[:2] == first
    assert found == perplexity(model, longer.valid)


def test_an_interrupt_while_a_window_is_read_changes_no_score(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, model = LanguageModeling(corpus), make_model()

    def interrupted(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "new_empty", interrupted)  # the states are to be kept
        with pytest.raises(KeyboardInterrupt):
            task.evaluate(model, "valid")
    assert task.evaluate(model, "valid") == perplexity(model, corpus.valid)


@pytest.mark.parametrize("tied", [False, True])
def test_kept_hidden_states_change_no_score(
    tied: bool, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    original = LanguageModel.recur

    def watched(self: LanguageModel, *arguments: Any) -> Any:
        runs.append(arguments)
        return original(self, *arguments)

    monkeypatch.setattr(LanguageModel, "recur", watched)
    task, model = LanguageModeling(corpus), make_model(tied)
    losses = list(task.part_losses(model, "valid"))
    read = len(runs)
    first = task.evaluate(model, "valid")
    assert first == pytest.approx(perplexity(model, corpus.valid))
    assert len(runs) == 2 * read  # once by the task, once by the last line
    with torch.no_grad():
        model.decoder.bias.add_(torch.arange(5.0))
    runs.clear()
    other = task.evaluate(model, "valid")
    assert runs == []
    assert other == perplexity(model, corpus.valid) != first
    with torch.no_grad():
        model.embedding.weight.mul_(3)
    runs.clear()
    third = task.evaluate(model, "valid")
    assert len(runs) == read
    assert third == perplexity(model, corpus.valid)
    assert len(losses) == read


def test_part_losses_are_those_of_the_whole(corpus: Corpus) -> None:
    long = replace(corpus, valid=np.random.default_rng(1).integers(0, 5, 1060))
    task, model = LanguageModeling(long), make_model()
    losses = list(task.part_losses(model, "valid"))
    assert len(losses) == 3  # of 35 steps each, in ten columns
    assert np.exp(np.mean(losses)) == pytest.approx(task.evaluate(model, "valid"))


def test_calibration_reads_the_training_split_once(corpus: Corpus) -> None:
    task = LanguageModeling(corpus)
    batches = list(task.calibration_batches())
    assert [tuple(batch.shape) for batch in batches] == [(35, 20), (35, 20), (4, 20)]
    first_column = torch.cat(batches)[:, 0].numpy()
    np.testing.assert_array_equal(first_column, corpus.train[:74])
    assert task.forward(make_model(), batches[0]).shape == (35, 20, 5)


def test_rows_are_as_frequent_as_their_words(corpus: Corpus) -> None:
    task = LanguageModeling(corpus)
    frequencies = task.row_frequencies(make_model())
    assert sorted(frequencies) == ["decoder.weight", "embedding.weight"]
    for counts in frequencies.values():
        assert counts.tolist() == [(corpus.train == word).sum() for word in range(5)]
    assert list(task.row_frequencies(make_model(tied=True))) == ["embedding.weight"]
    assert task.row_frequencies(nn.Linear(2, 2)) == {}


def test_fingerprint_tells_data_apart(corpus: Corpus) -> None:
    base = LanguageModeling(corpus).fingerprint()
    assert LanguageModeling(replace(corpus, name="other")).fingerprint() == base
    words = ("<unk>", "<eos>", "a", "b", "d")
    others = [
        replace(corpus, vocabulary=Vocabulary(words)),
        replace(corpus, test=corpus.test[:-1]),
        replace(corpus, valid=corpus.test, test=corpus.valid),
        replace(corpus, train=corpus.train[::-1]),
    ]
    assert len({base, *(LanguageModeling(other).fingerprint() for other in others)}) == 5


def test_artifacts_get_what_they_need_to_run_alone(corpus: Corpus) -> None:
    task, model = LanguageModeling(corpus), make_model()
    assert task.assets() == {"vocab.txt": b"<unk>\n<eos>\na\nb\nc\n"}
    config = task.model_config(model)
    assert config is not None
    values = dict(config)
    assert values.pop("architecture") == "recurrent_lm"
    assert LanguageModelConfig.from_json(values) == model.config
    assert task.model_config(nn.Linear(2, 2)) is None


@pytest.mark.parametrize(("split", "least"), [("train", 40), ("valid", 20), ("test", 20)])
def test_a_split_that_is_too_short_is_found_at_once(
    split: str, least: int, corpus: Corpus
) -> None:
    short: dict[str, Any] = {split: np.zeros(least - 1, np.int64)}
    with pytest.raises(CorpusError, match=rf"{least} words, toy \({split}\) has {least - 1}"):
        LanguageModeling(replace(corpus, **short))
