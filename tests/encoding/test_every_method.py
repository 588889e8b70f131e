"""Each structure, in each precision that makes sense, on each kind of language model."""

import copy
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from strategies import FOR_MODELS, PRECISIONS, treat
from toys import toy_corpus, toy_model

import autocompress
from autocompress.encoding.encoder import Encoder, uncompressed_plan
from autocompress.errors import PlanError
from autocompress.knowledge.source import Source
from autocompress.lm import LanguageModeling, load_model, perplexity, read_corpus
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import EntropyStep, Precision
from autocompress.structures import (
    Dense,
    GroupReduce,
    LowRank,
    Matrix,
    Pruned,
    Structure,
    TensorTrain,
    VectorQuantized,
)

MODELS = [(cell, tied) for cell in ("lstm", "gru", "rnn") for tied in (False, True)]
Subject = tuple[torch.nn.Module, LanguageModeling, Source]

each_structure = pytest.mark.parametrize("structure", FOR_MODELS, ids=lambda one: one.label())
each_precision = pytest.mark.parametrize("precision", PRECISIONS, ids=lambda one: one.label())


@pytest.fixture(scope="module", params=MODELS, ids=lambda model: model[0] + "-tied" * model[1])
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """Return an untrained model of an odd width, its task, and its weights."""
    cell, tied = request.param
    folder = tmp_path_factory.mktemp("conformance")
    corpus = toy_corpus(folder / "toy")
    sizes = {"embedding_size": 15, "hidden_size": 15, "cell": cell, "tied": tied}
    model, vocabulary = load_model(toy_model(folder / "model", corpus, **sizes))
    task = LanguageModeling(read_corpus(corpus, vocabulary))
    return model, task, Source.of(model, task)


def fits(source: Source, name: str, treatment: Treatment) -> bool:
    """Whether a weight, or a site, can be treated so."""
    members = {weight.name for weight in source.members(name)}
    exact = uncompressed_plan(source).treatments
    plan = {other: exact[other] for other in exact if other not in members}
    try:
        Encoder(source).check(CompressionPlan(treatments={**plan, name: treatment}))
    except PlanError:
        return False
    return True


def matrices(source: Source) -> list[str]:
    return [name for name, weight in source.weights.weights.items() if weight.values.ndim == 2]


def check(subject: Subject, plan: CompressionPlan, path: Path) -> None:
    """Show that a loaded file computes with what structure and precision make of the weights."""
    model, task, source = subject
    Encoder(source).write(plan, path)
    expected = dict(in_memory(source, plan))
    loaded, filled = autocompress.load(path), copy.deepcopy(model)
    state = loaded.state_dict()
    assert set(state) == set(model.state_dict())
    for name, values in expected.items():
        assert np.array_equal(state[name].numpy(), values), name
    filled.load_state_dict({name: torch.from_numpy(values) for name, values in expected.items()})
    score = perplexity(loaded, task.corpus.valid)
    assert score == perplexity(filled, task.corpus.valid)
    assert math.isfinite(score)


def in_memory(source: Source, plan: CompressionPlan) -> Iterator[tuple[str, Matrix]]:
    """Yield every weight as structure and precision leave it, without any file."""
    for name, treatment in plan.treatments.items():
        decoded = {}
        for key, factor in Encoder(source).factorize(name, treatment).items():
            precision = treatment.precision
            decoded[key] = factor.values if factor.integers else precision.quantize(factor)
        matrix = treatment.structure.reconstruct(decoded)
        first = 0
        for weight in source.members(name):
            last = first + weight.matrix.shape[0]
            for alias in (weight.name, *weight.aliases):
                yield alias, matrix[first:last].reshape(weight.values.shape)
            first = last


@each_structure
@each_precision
def test_every_structure_works_in_every_precision(
    subject: Subject, tmp_path: Path, structure: Structure, precision: Precision
) -> None:
    source = subject[2]
    treatment = treat(structure, precision)
    treated = [name for name in matrices(source) if fits(source, name, treatment)]
    tokens = [name for name in matrices(source) if name in source.calibration.row_frequencies]
    if not precision.needs_row_frequencies:
        assert treated == matrices(source)
    else:
        assert treated == (tokens if structure.keeps_rows else [])
    plan = uncompressed_plan(source).treatments
    check(
        subject,
        CompressionPlan(treatments={**plan, **dict.fromkeys(treated, treatment)}),
        tmp_path / "model.acz",
    )


@each_precision
def test_shared_projections_work_in_every_precision(
    subject: Subject, tmp_path: Path, precision: Precision
) -> None:
    source = subject[2]
    treatment = treat(LowRank(rank=6), precision)
    sites = [site.name for site in source.calibration.sites]
    assert len(sites) == 2
    treated = [site for site in sites if fits(source, site, treatment)]
    assert treated == ([] if precision.needs_row_frequencies else sites)
    shared = {weight.name for site in treated for weight in source.members(site)}
    exact = uncompressed_plan(source).treatments
    plan = {name: exact[name] for name in exact if name not in shared}
    plan |= dict.fromkeys(treated, treatment)
    check(subject, CompressionPlan(treatments=plan), tmp_path / "model.acz")


def test_tied_weights_are_stored_once(subject: Subject, tmp_path: Path) -> None:
    model, task, source = subject
    plan = uncompressed_plan(source)
    artifact = autocompress.compress(model, plan, task, tmp_path / "model.acz")
    stored = [line.name for line in artifact.report()]
    tied = "decoder.weight" not in source.weights.weights
    assert ("decoder.weight" in stored) != tied
    assert len(stored) == len(set(stored)) == len(source.weights.weights)


@pytest.mark.parametrize(
    ("structure", "precision", "reason"),
    [
        (LowRank(rank=16), PRECISIONS[0], r"`1 <= rank <= 15` must hold .* got rank=16"),
        (GroupReduce(blocks=1, rank=16), PRECISIONS[0], r"`1 <= rank <= 15` must hold"),
        (TensorTrain(rank=500), PRECISIONS[0], r"must hold for 3 cores .* got rank=500"),
        (VectorQuantized(dimension=16, bits=4), PRECISIONS[0], r"`1 <= dimension <= 15`"),
        (Pruned(sparsity=1e-6), PRECISIONS[0], "prunes 0"),
        (Pruned(sparsity=0.5, of=LowRank(rank=16)), PRECISIONS[0], "got rank=16"),
        (
            TensorTrain(rank=3),
            EntropyStep(step=1, frequency_exponent=0.5),
            "tensor_train keeps no rows",
        ),
        (
            VectorQuantized(dimension=3, bits=4),
            EntropyStep(step=1, frequency_exponent=0.5),
            "vector_quantized keeps no rows",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(
    subject: Subject,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    structure: Structure,
    precision: Precision,
    reason: str,
) -> None:
    source = subject[2]

    def fail(*_: object) -> None:
        raise AssertionError("work was done")

    for kind in (Dense, GroupReduce, LowRank, Pruned, TensorTrain, VectorQuantized):
        monkeypatch.setattr(kind, "factorize", fail)
    exact = uncompressed_plan(source).treatments
    plan = CompressionPlan(treatments={**exact, "embedding.weight": treat(structure, precision)})
    with pytest.raises(PlanError, match=reason) as refused:
        Encoder(source).write(plan, tmp_path / "model.acz")
    assert "'embedding.weight'" in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@each_structure
def test_keeping_rows_is_as_declared(structure: Structure) -> None:
    weight = np.random.default_rng(0).standard_normal((40, 15)).astype(np.float32)
    factors = structure.factorize(weight, np.arange(40, dtype=np.float64))
    kept = [f.row_frequencies is not None for f in factors.values() if not f.integers]
    assert any(kept) == structure.keeps_rows
