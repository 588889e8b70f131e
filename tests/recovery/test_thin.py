"""Weights of low rank are trained without being formed."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from toys import Classification, Classifier, teacher

from autocompress.encoding.encoder import uncompressed_plan
from autocompress.knowledge.source import Source
from autocompress.lm import LanguageModel, LanguageModelConfig
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import EntropyStep
from autocompress.recovery.represented import Represented
from autocompress.recovery.thin import ThinEmbedding, ThinLinear, thin_modules
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
    formed = Represented(teacher(), source, plan)
    weights = dict(formed._items["embedding.weight"].weights())
    whole = teacher()
    with torch.no_grad():
        whole.embedding.weight.copy_(weights["embedding.weight"])

    def fail(*_: object) -> None:
        raise AssertionError("formed")

    monkeypatch.setattr(LowRank, "reconstruct", fail)
    model = Represented(teacher(), source, plan).eval()
    scores = model(tokens)
    torch.testing.assert_close(scores, whole(tokens), rtol=1e-4, atol=1e-4)
    scores.square().sum().backward()
    assert all(latent.grad is not None for latent in model.latents)


def test_a_tied_weight_is_thin_in_both_places() -> None:
    config = LanguageModelConfig(
        cell="gru", vocab_size=30, embedding_size=8, hidden_size=8, tied=True
    )
    model = LanguageModel(config)
    modules = thin_modules(model, ("embedding.weight", "decoder.weight"))
    assert modules is not None
    assert isinstance(modules["embedding"], ThinEmbedding)
    assert isinstance(modules["decoder"], ThinLinear)
    assert modules["decoder"].bias is model.decoder.bias
    assert thin_modules(model, ("gru.weight_hh_l0",)) is None
    assert thin_modules(nn.Linear(3, 4), ("weight",)) is None


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
    usual = Represented(teacher(), source, plan).eval()(tokens)
    torch.testing.assert_close(Represented(own, source, plan).eval()(tokens), usual)
