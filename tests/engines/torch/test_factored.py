"""Running from factors gives what running from decoded weights gives, with fewer numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from toys import Classification, Classifier, teacher, toy_corpus, toy_model

import autocompress
from autocompress.encoding.encoder import Encoder, uncompressed_plan
from autocompress.knowledge.source import Source
from autocompress.layers.factors import Factors
from autocompress.lm import LanguageModeling, load_model, perplexity, read_corpus
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import EntropyStep, Float32, Precision, Uniform
from autocompress.structures import GroupReduce, LowRank, Pruned, Structure, TensorTrain

STRUCTURES: tuple[Structure, ...] = (
    LowRank(rank=3),
    Pruned(sparsity=0.4, of=LowRank(rank=3)),
    GroupReduce(blocks=2, rank=4),
    TensorTrain(rank=2),
)
PRECISIONS: tuple[Precision, ...] = (Float32(), Uniform(bits=6), EntropyStep(step=0.1))
Case = tuple[LanguageModeling, Source]


@pytest.fixture(
    scope="module",
    params=[
        ("lstm", False, 2), ("lstm", True, 1), ("gru", False, 2), ("gru", True, 2),
        ("rnn", False, 3), ("rnn", True, 2),
    ],
    ids=lambda case: f"{case[0]}{case[1]}" + "-tied" * case[1],
)  # fmt: skip
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Return an untrained language model of an odd width; that of three layers has no biases."""
    cell, tied, layers = request.param
    folder = tmp_path_factory.mktemp("factored")
    corpus = toy_corpus(folder / "toy")
    sizes = {"embedding_size": 13, "hidden_size": 13, "num_layers": layers, "bias": layers < 3}
    toy_model(folder / "model", corpus, cell=cell, tied=tied, **sizes)
    model, vocabulary = load_model(folder / "model")
    task = LanguageModeling(read_corpus(corpus, vocabulary))
    return task, Source.of(model, task)


def compressed(
    case: Case, path: Path, structure: Structure, precision: Precision, *, shared: bool
) -> Path:
    """Compress all matrices alike, those of a site together if `shared`."""
    source = case[1]
    treatment = Treatment(structure=structure, precision=precision)
    treatments = dict(uncompressed_plan(source).treatments)
    matrices = [name for name, weight in source.weights.weights.items() if weight.values.ndim == 2]
    treatments |= dict.fromkeys(matrices, treatment)
    for site in source.calibration.sites if shared else ():
        treatments[site.name] = treatment
        for member in site.members:
            del treatments[member]
    Encoder(source).write(CompressionPlan(treatments=treatments), path)
    return path


def check_alike(path: Path, task: LanguageModeling) -> nn.Module:
    """Compare logits, states carried from chunk to chunk, and perplexity."""
    dense, factored = autocompress.load(path), autocompress.load(path, factored=True)
    words = torch.from_numpy(task.corpus.valid[:60]).reshape(20, 3)
    with torch.inference_mode():
        expected, end = dense(words)
        got, got_end = factored(words)
        first, state = factored(words[:7])
        second, _ = factored(words[7:], state)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got_end, end, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.cat([first, second]), got, rtol=1e-5, atol=1e-6)
    scores = [perplexity(model, task.corpus.valid) for model in (dense, factored)]
    assert scores[1] == pytest.approx(scores[0], rel=1e-5)
    assert isinstance(factored, nn.Module)
    return factored


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda one: one.label())
@pytest.mark.parametrize("precision", PRECISIONS, ids=lambda one: one.label())
def test_factors_give_what_decoded_weights_give(
    case: Case, tmp_path: Path, structure: Structure, precision: Precision
) -> None:
    path = compressed(case, tmp_path / "model.acz", structure, precision, shared=False)
    factored = check_alike(path, case[0])
    assert any(isinstance(module, Factors) for module in factored.modules())


@pytest.mark.parametrize("structure", STRUCTURES[:2], ids=lambda one: one.label())
@pytest.mark.parametrize("precision", PRECISIONS, ids=lambda one: one.label())
def test_shared_projections_give_what_decoded_weights_give(
    case: Case, tmp_path: Path, structure: Structure, precision: Precision
) -> None:
    path = compressed(case, tmp_path / "model.acz", structure, precision, shared=True)
    check_alike(path, case[0])


def test_every_hidden_state_is_projected_once(case: Case, tmp_path: Path) -> None:
    path = compressed(case, tmp_path / "m.acz", LowRank(rank=3), Float32(), shared=True)
    model = autocompress.load(path, factored=True)
    projected: list[int] = []

    def count(_: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        projected.append(arguments[0].shape[:-1].numel())

    sites = {site.name for site in case[1].calibration.sites}
    shared = {module for module in model.modules() if isinstance(module, Factors)}
    recurrent = next(m for m in model.modules() if isinstance(m, nn.RNNBase))
    layers = recurrent.num_layers
    assert len(sites) == layers
    for projection in shared:
        projection.register_forward_pre_hook(count)
    time, batch = 11, 3
    with torch.inference_mode():
        model(torch.zeros(time, batch, dtype=torch.int64))
    # The states of each layer, the one to begin with, and the input of the first layer.
    tied = "decoder.weight" not in case[1].weights.weights
    assert sum(projected) == layers * (time + 1) * batch + time * batch
    assert len(shared) == layers + (1 if tied else 2)


def test_fewer_numbers_are_held(case: Case, tmp_path: Path) -> None:
    path = compressed(case, tmp_path / "m.acz", LowRank(rank=2), Float32(), shared=True)
    model = autocompress.load(path, factored=True)
    artifact = autocompress.open_artifact(path)
    stored = sum(array.size for _, factors in artifact.factors() for array in factors.values())
    assert sum(parameter.numel() for parameter in model.parameters()) == stored
    assert stored < sum(p.numel() for p in autocompress.load(path).parameters()) / 2


@pytest.mark.parametrize("batch_first", [False, True])
def test_models_of_ones_own(tmp_path: Path, batch_first: bool) -> None:
    model = teacher()
    if not batch_first:
        model.lstm.batch_first = False
    task = Classification()
    source = Source.of(teacher(), task)
    low = Treatment(structure=LowRank(rank=4), precision=Float32())
    treatments = dict(uncompressed_plan(source).treatments)
    for member in ("lstm.weight_hh_l0", "lstm.weight_ih_l1"):
        del treatments[member]
    treatments |= {"h:lstm.l0": low, "embedding.weight": low}
    plan = CompressionPlan(treatments=treatments)
    autocompress.compress(teacher(), plan, task, tmp_path / "model.acz")
    empty = Classifier()
    empty.lstm.batch_first = batch_first
    dense = autocompress.load(tmp_path / "model.acz", model)
    factored = autocompress.load(tmp_path / "model.acz", empty, factored=True)
    runs = {name.rpartition(".")[0] for name, module in factored.named_modules()
            if isinstance(module, Factors)}  # fmt: skip
    assert runs == {"embedding", "lstm"}
    assert isinstance(factored.embedding, nn.Embedding)
    assert type(factored.lstm).__name__ == "LSTM"
    assert isinstance(factored.lstm, nn.LSTM)
    with torch.inference_mode():
        torch.testing.assert_close(factored(task.tokens), dense(task.tokens), rtol=1e-4, atol=1e-5)


def test_what_saves_nothing_stays_as_it_is(tmp_path: Path) -> None:
    source = Source.of(teacher(), Classification())
    full = Treatment(structure=LowRank(rank=30), precision=Float32())
    plan = CompressionPlan(
        treatments={**uncompressed_plan(source).treatments, "embedding.weight": full}
    )
    autocompress.compress(teacher(), plan, Classification(), tmp_path / "model.acz")
    model = autocompress.load(tmp_path / "model.acz", Classifier(), factored=True)
    assert type(model.embedding) is nn.Embedding
    assert type(model.lstm) is nn.LSTM


@pytest.mark.parametrize("shape", [(37, 13), (13, 37), (64, 64), (101, 7)])
@pytest.mark.parametrize(
    "structure",
    [LowRank(rank=3), GroupReduce(blocks=3, rank=3), TensorTrain(rank=3, modes=2),
     TensorTrain(rank=3), TensorTrain(rank=2, modes=4)],
    ids=lambda one: one.label(),
)  # fmt: skip
def test_products_are_the_weight(structure: Structure, shape: tuple[int, int]) -> None:
    weight = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    if structure.misfit(shape) is not None:
        pytest.skip("does not fit")
    factors = {name: f.values for name, f in structure.factorize(weight, None).items()}
    matrix = torch.from_numpy(structure.reconstruct(factors))
    product = Factors(structure, [shape], tensors(structure, shape, factors)).products[0]
    x = torch.randn(4, 5, shape[1], generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(product.times(x), x @ matrix.T, rtol=1e-4, atol=1e-4)
    part = product.times(x, torch.ones(4), slice(2, 6))
    torch.testing.assert_close(part, x @ matrix.T[:, 2:6] + 1, rtol=1e-4, atol=1e-4)
    ids = torch.arange(shape[0]).reshape(1, -1)
    torch.testing.assert_close(product.rows(ids)[0], matrix, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(product.weight(), matrix, rtol=1e-4, atol=1e-4)


def tensors(
    structure: Structure, shape: tuple[int, int], factors: dict[str, Any]
) -> dict[str, Any]:
    """Turn all factors but those of whole numbers into tensors."""
    whole = structure.integer_shapes(shape)
    return {n: f if n in whole else torch.from_numpy(f) for n, f in factors.items()}


def test_multiplications_are_counted() -> None:
    weight = np.random.default_rng(0).standard_normal((64, 27)).astype(np.float32)

    def count(structure: Structure) -> int:
        factors = {name: f.values for name, f in structure.factorize(weight, None).items()}
        return Factors(
            structure, [(64, 27)], tensors(structure, (64, 27), factors)
        ).multiplications

    assert count(LowRank(rank=5)) == 5 * (64 + 27)
    # 4 x 4 x 4 by 3 x 3 x 3: 9 * 3 * 4 * 2 and 4 * 3 * 2 * 3 * 4 * 2 and 16 * 2 * 3 * 4
    assert count(TensorTrain(rank=2)) == 216 + 576 + 384
