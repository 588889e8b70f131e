"""Exported language models at work: what is timed is what is scored."""

from pathlib import Path

import numpy as np
import torch
from toys import toy_corpus, toy_model

from autocompress.artifact import open_artifact
from autocompress.encoding.encoder import Encoder, uncompressed_plan
from autocompress.engines.onnx.session import open_session
from autocompress.knowledge.source import Source
from autocompress.lm import LanguageModeling, load_model, read_corpus
from autocompress.lm.onnx.build import build
from autocompress.lm.onnx.modules import StepModel
from autocompress.lm.onnx.stepper import Stepper


def test_what_is_timed_is_what_is_scored(tmp_path: Path) -> None:
    corpus = toy_corpus(tmp_path / "toy")
    model, vocabulary = load_model(toy_model(tmp_path / "model", corpus))
    source = Source.of(model, LanguageModeling(read_corpus(corpus, vocabulary)))
    Encoder(source).write(uncompressed_plan(source), tmp_path / "model.acz")
    session = open_session(build(open_artifact(tmp_path / "model.acz")).SerializeToString())
    words = [3, 1, 4, 1, 5]
    stepper = Stepper(session)
    for word in words:
        stepper(word)
    expected = StepModel(session)(torch.tensor(words)[:, None])[0][-1, 0].numpy()
    assert np.array_equal(stepper.scores["logits"][0, 0], expected)
