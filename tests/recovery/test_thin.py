"""Weights of low rank are trained without being formed."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from toys import Classification, Classifier, teacher

from autocompress.encoding.encoder import uncompressed_plan
from autocompress.knowledge.calibration import Calibration
from autocompress.knowledge.source import Source
from autocompress.knowledge.weights import ModelWeights
from autocompress.layers.factors import Factors
from autocompress.lm import LanguageModel, LanguageModelConfig
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import EntropyStep
from autocompress.recovery.represented import Represented
from autocompress.structures import LowRank

THIN = Treatment(structure=LowRank(rank=3), precision=EntropyStep(step=0.1))


def source_of(model: nn.Module) -> Source:
    return Source.of(model, Classification())


def plan_of(source: Source, name: str) -> CompressionPlan:
    return CompressionPlan(treatments={**uncompressed_plan(source).treatments, name: THIN})


def test_the_weight_is_never_formed(monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_of(teacher())
    plan = plan_of(source, "embedding.weight")
    tokens = Classification().tokens[:20]
    formed = Represented(teacher(), source, plan).model
    whole = teacher()
    with torch.no_grad():
        whole.embedding.weight.copy_(formed.get_submodule("embedding").weight)  # type: ignore[arg-type]

    def fail(*_: object) -> None:
        raise AssertionError("formed")

    monkeypatch.setattr(LowRank, "reconstruct", fail)
    represented = Represented(teacher(), source, plan)
    scores = represented.model.eval()(tokens)
    torch.testing.assert_close(scores, whole(tokens), rtol=1e-4, atol=1e-4)
    scores.square().sum().backward()
    assert all(latent.grad is not None for latent in represented.latents)


def test_a_tied_weight_is_thin_in_both_places() -> None:
    config = LanguageModelConfig(
        cell="gru", vocab_size=30, embedding_size=8, hidden_size=8, tied=True
    )
    original = LanguageModel(config)
    tied = Source(ModelWeights.of(original), Calibration({}, ()))
    model = Represented(original, tied, plan_of(tied, "embedding.weight")).model
    thin = {path: module for path, module in model.named_modules() if isinstance(module, Factors)}
    assert set(thin) == {"embedding.weight_factors"}  # one and the same in both places
    embedding, decoder = model.get_submodule("embedding"), model.get_submodule("decoder")
    assert isinstance(embedding, nn.Embedding)
    assert isinstance(decoder, nn.Linear)
    assert decoder.get_submodule("weight_factors") is embedding.get_submodule("weight_factors")
    assert "weight" not in {*embedding._parameters, *decoder._parameters}
    assert torch.equal(decoder.weight, embedding.weight)


def test_models_may_use_the_weight_in_ways_of_their_own() -> None:
    class Own(Classifier):
        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            embedded = functional.embedding(tokens, self.embedding.weight)
            scores: torch.Tensor = self.head(self.lstm(embedded)[0][:, -1])
            return scores

    own = Own()
    own.load_state_dict(teacher().state_dict())
    source = source_of(teacher())
    plan = plan_of(source, "embedding.weight")
    tokens = Classification().tokens[:20]
    usual = Represented(teacher(), source, plan).model.eval()(tokens)
    torch.testing.assert_close(Represented(own, source, plan).model.eval()(tokens), usual)
