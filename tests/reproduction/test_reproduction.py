"""The papers' methods: their sizes by the papers' accounting, and all rows on a toy model."""

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from toys import Classification, teacher, toy_model, write_corpus

from autocompress.artifact import open_artifact
from autocompress.encoding.encoder import Encoder
from autocompress.engines.torch import load
from autocompress.errors import ModelError, SearchError
from autocompress.knowledge.source import Source
from autocompress.lm import (
    LanguageModel,
    LanguageModelConfig,
    LanguageModeling,
    load_model,
    perplexity,
    read_corpus,
)
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import EntropyStep
from autocompress.reproduction import Reproduction, reproduce
from autocompress.reproduction.accounting import accounted_bytes
from autocompress.reproduction.papers import METHODS
from autocompress.structures import Dense

PLANS = {method.key: method.plan for method in METHODS}
WORDS = [f"word{number}" for number in range(400)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lines = [" ".join(WORDS[first : first + 10]) for first in range(0, 400, 10)]
    folder = tmp_path_factory.mktemp("data")
    return write_corpus(folder, {"train": lines, "valid": lines[:8], "test": lines[8:16]})


def model_of(folder: Path, corpus: Path, **changes: object) -> Path:
    sizes = {"embedding_size": 24, "hidden_size": 24, **changes}
    return toy_model(folder, corpus, **sizes)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Source:
    """Return a model of the papers' small size: 10,000 words, 2 x 200 units."""
    config = LanguageModelConfig(
        cell="lstm", vocab_size=10_000, embedding_size=200, hidden_size=200, num_layers=2
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Source.of(LanguageModel(config), LanguageModeling(read_corpus(corpus)))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        # 2 * 10,000 * 200 + 10,000 + 2 * (8 * 200^2 + 4 * 200) numbers, a byte each
        pytest.param("8-bit", 4_651_600, id="8 bit: the paper's 4.7 MB"),
        # of the output layer, 200,000 remain
        pytest.param(
            "pruned-output", 4 * 2_851_600, id="pruned: the paper's 5.5 MB is impossible"
        ),
        # 50 * (10,000 + 200) instead of 2,000,000
        pytest.param("low-rank-output", 4 * 3_161_600, id="low rank: the paper's 12.6 MB"),
        # 40 * (10,000 + 800 + 1,600 + 10,800) + 4 right factors and the biases
        pytest.param("shared-projection", 4 * 971_600, id="shared: 3.7 MB without projections"),
        pytest.param("half-precision", 2 * 971_600, id="half of that"),
    ],
)
def test_sizes_by_the_papers_accounting(source: Source, key: str, expected: int) -> None:
    assert accounted_bytes(Encoder(source), PLANS[key](source)) == expected


def test_a_tensor_train_has_as_many_parameters_as_the_paper_says(source: Source) -> None:
    # 2.95 M parameters in all, 11.8 MB
    accounted = accounted_bytes(Encoder(source), PLANS["tensor-train-output"](source))
    assert 11.6e6 < accounted <= 11.8e6


def test_steps_have_no_width_to_account_for(source: Source) -> None:
    treatment = Treatment(structure=Dense(), precision=EntropyStep(step=1.0))
    plan = CompressionPlan(treatments=dict.fromkeys(source.weights.weights, treatment))
    with pytest.raises(ValueError, match="step 1"):
        accounted_bytes(Encoder(source), plan)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("tied", [False, True])
def test_every_method_fits_other_models(
    tmp_path: Path, corpus: Path, cell: str, tied: bool
) -> None:
    model, vocabulary = load_model(model_of(tmp_path / "m", corpus, cell=cell, tied=tied))
    source = Source.of(model, LanguageModeling(read_corpus(corpus, vocabulary)))
    for plan in PLANS.values():
        Encoder(source).check(plan(source))


def test_models_without_an_output_layer_are_refused() -> None:
    source = Source.of(teacher(), Classification())
    with pytest.raises(ModelError, match=r"need a model with an output layer.* only: embedding"):
        PLANS["pruned-output"](source)


class Renamed(nn.Module):
    """A model over tokens whose modules are called otherwise than those of a language model."""

    def __init__(self, *, tied: bool) -> None:
        super().__init__()
        self.first = nn.Embedding(50, 12)
        self.middle = nn.GRU(12, 12)
        self.bridge = nn.Linear(12, 12)
        self.last = nn.Linear(12, 50)
        if tied:
            self.last.weight = self.first.weight
        self.side = nn.Linear(12, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden = self.bridge(self.middle(self.first(tokens))[0])
        logits: torch.Tensor = self.last(hidden) + self.side(hidden).sum()
        return logits


class Counting(Classification):
    """Knows how often the rows of some weights are used."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names

    def row_frequencies(self, model: nn.Module) -> Mapping[str, NDArray[np.float64]]:
        tensors = model.state_dict()
        return {name: np.arange(1.0, 1 + len(tensors[name])) for name in self.names}


@pytest.mark.parametrize(
    ("names", "tied", "expected"),
    [
        pytest.param(("first.weight", "last.weight"), False, "last.weight", id="counted"),
        pytest.param(("first.weight", "side.weight"), False, "side.weight", id="of other rows"),
        pytest.param(("first.weight",), True, "first.weight", id="tied"),
        pytest.param((), True, "first.weight", id="tied and not counted"),
        pytest.param((), False, "last.weight", id="as many rows as the embedding"),
    ],
)
def test_the_output_layer_is_found_by_what_it_does(
    names: tuple[str, ...], tied: bool, expected: str
) -> None:
    source = Source.of(Renamed(tied=tied), Counting(*names))
    treatments = PLANS["pruned-output"](source).treatments
    assert [name for name, one in treatments.items() if one.structure != Dense()] == [expected]


def run(folder: Path, model: Path, corpus: Path) -> Reproduction:
    network, vocabulary = load_model(model)
    task = LanguageModeling(read_corpus(corpus, vocabulary))
    return reproduce(network, task, folder, steps=4, segments=1)


@pytest.fixture(scope="module")
def reproduced(
    tmp_path_factory: pytest.TempPathFactory, corpus: Path
) -> tuple[Path, Path, Reproduction]:
    model = model_of(tmp_path_factory.mktemp("model") / "toy", corpus)
    out = tmp_path_factory.mktemp("out")
    return model, out, run(out, model, corpus)


@pytest.mark.slow
def test_every_row_has_measured_files(
    reproduced: tuple[Path, Path, Reproduction], corpus: Path
) -> None:
    _, out, result = reproduced
    assert [line.method.key for line in result.lines] == list(PLANS)
    for line in result.lines:
        place = out / line.method.key
        for folder, point in (
            (place, line.pairs["plain"].method),
            (place / "own", line.pairs["plain"].own),
            (place / "recovered-4-steps", line.pairs["recovered"].method),
            (place / "own" / "recovered-4-steps", line.pairs["recovered"].own),
        ):
            artifact = open_artifact(folder / "model.acz")
            model = load(artifact)
            assert artifact.size_bytes == point.size_bytes
            tokens = read_corpus(corpus, load_model(reproduced[0])[1])
            assert perplexity(model, tokens.valid) == pytest.approx(point.valid, rel=1e-9)
            assert perplexity(model, tokens.test) == pytest.approx(point.test, rel=1e-9)


@pytest.mark.slow
def test_own_plans_are_no_larger(reproduced: tuple[Path, Path, Reproduction]) -> None:
    for line in reproduced[2].lines:
        for pair in line.pairs.values():
            assert pair.own.size_bytes <= pair.method.size_bytes


@pytest.mark.slow
def test_methods_are_carried_out(reproduced: tuple[Path, Path, Reproduction]) -> None:
    _, out, result = reproduced
    kinds = {
        line.method.key: {
            treatment.structure.kind
            for treatment in open_artifact(
                out / line.method.key / "recovered-4-steps" / "model.acz"
            ).plan.treatments.values()
        }
        for line in result.lines
    }
    assert kinds["pruned-output"] == {"dense", "pruned"}
    assert kinds["tensor-train-layers"] == {"dense", "tensor_train"}
    assert kinds["group-reduce"] == {"dense", "group_reduce"}
    weight = open_artifact(out / "pruned-output" / "recovered-4-steps" / "model.acz")
    values = weight.state_dict()["decoder.weight"]
    assert (values == 0).sum() == round(0.9 * values.size)


@pytest.mark.slow
def test_what_is_finished_is_not_done_again(
    reproduced: tuple[Path, Path, Reproduction], corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out, result = reproduced
    (out / METHODS[0].key / "measured.json").unlink()

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("recovered again")

    module = import_module("autocompress.reproduction.reproduce")  # hidden by the function in it
    monkeypatch.setattr(module, "recover", fail)
    again = run(out, model, corpus)
    assert again.to_json() == result.to_json()


@pytest.mark.slow
def test_a_folder_of_another_model_is_refused(
    reproduced: tuple[Path, Path, Reproduction], corpus: Path, tmp_path: Path
) -> None:
    _, out, _ = reproduced
    other = model_of(tmp_path / "other", corpus, tied=True)
    with pytest.raises(SearchError, match="another model or other data"):
        run(out, other, corpus)


@pytest.mark.slow
def test_tables_and_document_tell_the_same(
    reproduced: tuple[Path, Path, Reproduction],
) -> None:
    result = reproduced[2]
    document = json.loads(json.dumps(result.to_json()))
    markdown = result.markdown()
    for row in document["rows"]:
        for track in ("plain", "recovered"):
            assert row["method"] in markdown
            assert f"{row[track]['method']['size_bytes']:,}" in markdown
            assert f"{row[track]['own']['test']:.2f}" in markdown
    pruned = document["rows"][1]
    assert pruned["plain"]["paper"]["rise"] == pytest.approx(0.269, abs=5e-4)
    assert pruned["recovered"]["paper"]["rise"] == pytest.approx(0.029, abs=5e-4)
    assert "| +26.9% |" in markdown
    wins = sum(row["plain"]["won"] for row in document["rows"])
    assert f"without retraining in {wins} of {len(METHODS)} rows" in markdown
