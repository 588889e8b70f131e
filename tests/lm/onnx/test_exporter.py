"""What the ONNX engine is told of language models."""

from pathlib import Path

import numpy as np
import pytest
import torch
from toys import toy_corpus, toy_model

from autocompress.artifact import Artifact, open_artifact
from autocompress.encoding.encoder import Encoder, uncompressed_plan
from autocompress.engines.onnx.engine import OnnxEngine
from autocompress.engines.onnx.exporter import EXPORTERS
from autocompress.engines.torch import load
from autocompress.errors import ExportError
from autocompress.knowledge.source import Source
from autocompress.lm import LanguageModeling, load_model, read_corpus
from autocompress.lm.onnx.exporter import LanguageModelExporter
from autocompress.lm.onnx.modules import StepModel


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    corpus = toy_corpus(tmp_path / "toy")
    model, vocabulary = load_model(toy_model(tmp_path / "model", corpus))
    source = Source.of(model, LanguageModeling(read_corpus(corpus, vocabulary)))
    Encoder(source).write(uncompressed_plan(source), tmp_path / "model.acz")
    return open_artifact(tmp_path / "model.acz")


def test_the_exporter_is_found_by_an_entry_point() -> None:
    assert EXPORTERS["recurrent_lm"] is LanguageModelExporter


def test_models_read_word_by_word(artifact: Artifact) -> None:
    model = load(artifact)
    engine = OnnxEngine(model, artifact)
    loaded = engine.load(artifact)
    assert isinstance(loaded, StepModel)
    words = torch.tensor([[1, 2], [3, 4], [5, 6]])
    with torch.no_grad():
        assert torch.allclose(loaded(words)[0], model(words)[0], atol=1e-5)
    assert engine.latency(loaded).p50_ms > 0


def test_models_are_timed_on_forty_words_that_are_always_the_same(artifact: Artifact) -> None:
    assert artifact.model_config is not None
    one, other = (LanguageModelExporter(artifact.model_config).inputs() for _ in range(2))
    assert one == other
    assert len(one) == 40
    size = artifact.model_config["vocab_size"]
    assert one == np.random.default_rng(0).integers(size, size=40).tolist()


def test_other_models_are_refused() -> None:
    with pytest.raises(ExportError, match=r"only language models .* not \{'architecture': 'tiny'"):
        LanguageModelExporter({"architecture": "tiny"})
