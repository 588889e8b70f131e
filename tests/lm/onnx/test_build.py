"""Exported models: the same numbers as in torch, in every form, and nothing that is not meant."""

from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from strategies import FOR_MODELS, TinyTask, tiny_model, treat
from torch import Tensor
from toys import toy_corpus, toy_model

import autocompress
from autocompress.artifact import Artifact, open_artifact
from autocompress.encoding.compress import compress
from autocompress.encoding.encoder import Encoder, uncompressed_plan
from autocompress.engines.onnx.session import open_session
from autocompress.errors import ExportError
from autocompress.knowledge.source import Source
from autocompress.lm import LanguageModel, LanguageModeling, load_model, read_corpus
from autocompress.lm.onnx import parity
from autocompress.lm.onnx.build import Form, build
from autocompress.lm.onnx.modules import SequenceModel, StepModel
from autocompress.plan import CompressionPlan, Runtime
from autocompress.precisions import EntropyStep, Float32
from autocompress.structures import (
    Dense,
    LowRank,
    Structure,
)

RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
MODELS = [
    {"cell": cell, "tied": tied, "bias": bias}
    for cell in ("lstm", "gru", "rnn")
    for tied, bias in ((False, True), (True, True), (False, False))
]
Subject = tuple[LanguageModel, Source]

each_structure = pytest.mark.parametrize("structure", FOR_MODELS, ids=lambda one: one.label())
each_runtime = pytest.mark.parametrize("runtime", RUNTIMES)


def subject_of(folder: Path, **settings: object) -> Subject:
    """Return a model of weights so large that its states saturate, and its tensors."""
    corpus = toy_corpus(folder / "toy")
    model, vocabulary = load_model(toy_model(folder / "model", corpus, **settings))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3)
    return model, Source.of(model, LanguageModeling(read_corpus(corpus, vocabulary)))


@pytest.fixture(scope="module", params=MODELS, ids=lambda one: "-".join(map(str, one.values())))
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    sizes = {"embedding_size": 15, "hidden_size": 15}
    return subject_of(tmp_path_factory.mktemp("onnx"), **sizes, **request.param)


@pytest.fixture(scope="module")
def lstm(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return subject_of(tmp_path_factory.mktemp("lstm"))


def artifact_of(source: Source, structure: Structure, runtime: Runtime, path: Path) -> Artifact:
    """Store all matrices alike."""
    treatments = dict(uncompressed_plan(source).treatments)
    for name, weight in source.weights.weights.items():
        if weight.values.ndim == 2:
            treatment = treat(structure, Float32())
            treatments[name] = treatment.model_copy(update={"runtime": runtime})
    Encoder(source).write(CompressionPlan(treatments=treatments), path)
    return open_artifact(path)


def text(source: Source) -> Tensor:
    """Return words (12, 2)."""
    size = len(source.weights.weights["embedding.weight"].values)
    return torch.from_numpy(np.random.default_rng(1).integers(size, size=(12, 2)))


def in_torch(artifact: Artifact, words: Tensor) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = autocompress.load(artifact)(words)[0]
    return logits


def in_steps(artifact: Artifact, words: Tensor, runtime: Runtime | None = None) -> Tensor:
    model = StepModel(open_session(build(artifact, runtime=runtime).SerializeToString()))
    first, state = model(words[:5])
    return torch.cat([first, model(words[5:], state)[0]])


def at_once(artifact: Artifact, words: Tensor) -> Tensor:
    model = SequenceModel(open_session(build(artifact, "sequence").SerializeToString()))
    first, state = model(words[:5])
    return torch.cat([first, model(words[5:], state)[0]])


def apart(one: Tensor, other: Tensor) -> float:
    """Return the root mean square of the difference, relative to the spread of the other."""
    return float((one - other).square().mean().sqrt() / other.std())


@each_structure
@each_runtime
def test_every_structure_runs_in_all_numbers(
    subject: Subject, structure: Structure, runtime: Runtime, tmp_path: Path
) -> None:
    source = subject[1]
    artifact = artifact_of(source, structure, runtime, tmp_path / "model.acz")
    words = text(source)
    expected = in_torch(artifact, words)
    most = {"float32": 1e-5, "int8": 0.06, "int4": 0.45}[runtime]
    for found in (in_steps(artifact, words), at_once(artifact, words)):
        assert found.shape == expected.shape
        assert apart(found, expected) < most
        assert runtime == "float32" or apart(found, expected) > 1e-5  # it does run rounded


def test_a_site_is_projected_once(lstm: Subject, tmp_path: Path) -> None:
    source = lstm[1]
    treatments = dict(uncompressed_plan(source).treatments)
    for site in source.calibration.sites:
        for member in site.members:
            del treatments[member]
        treatments[site.name] = treat(LowRank(rank=3), Float32())
    Encoder(source).write(CompressionPlan(treatments=treatments), tmp_path / "model.acz")
    artifact = open_artifact(tmp_path / "model.acz")
    rights = [one.name for one in build(artifact).graph.initializer if "/right" in one.name]
    model = build(artifact)
    products = [node for node in model.graph.node if set(node.input) & set(rights)]
    # The state of layer 0 is read twice: as it was before the step, and as it is after it.
    assert len(rights) == len(source.calibration.sites)
    assert len(products) == 4
    words = text(source)
    assert apart(in_steps(artifact, words), in_torch(artifact, words)) < 1e-5


def operators(artifact: Artifact, runtime: Runtime) -> set[str]:
    return {node.op_type for node in build(artifact, runtime=runtime).graph.node}


def test_weights_run_packed(lstm: Subject, tmp_path: Path) -> None:
    artifact = artifact_of(lstm[1], Dense(), "float32", tmp_path / "model.acz")
    assert operators(artifact, "float32") == {"Gather", "LSTM", "MatMul", "Add"}
    int8 = {"Gather", "DequantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul"}
    assert operators(artifact, "int8") == int8
    assert {"GatherBlockQuantized", "MatMulNBits"} < operators(artifact, "int4")
    sizes = [build(artifact, runtime=one).ByteSize() for one in RUNTIMES]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(("rank", "products"), [(3, 1), (12, 0)])
def test_rows_are_looked_up_decoded_unless_factors_are_much_smaller(
    rank: int, products: int, lstm: Subject, tmp_path: Path
) -> None:
    source = lstm[1]
    assert source.weights.weights["embedding.weight"].matrix.shape[1] == 16
    treatments = dict(uncompressed_plan(source).treatments)
    treatments["embedding.weight"] = treat(LowRank(rank=rank), Float32())
    Encoder(source).write(CompressionPlan(treatments=treatments), tmp_path / "model.acz")
    artifact = open_artifact(tmp_path / "model.acz")
    made = [node for node in build(artifact).graph.node if node.op_type == "MatMul"]
    assert len(made) == products + 1  # the output layer's
    words = text(source)
    assert apart(in_steps(artifact, words), in_torch(artifact, words)) < 1e-5


def test_tied_weights_are_stored_once(tmp_path: Path) -> None:
    _, source = subject_of(tmp_path, tied=True)
    artifact = artifact_of(source, Dense(), "int8", tmp_path / "model.acz")
    size = source.weights.weights["embedding.weight"].values.size
    kept = [one for one in build(artifact).graph.initializer if np.prod(one.dims) == size]
    assert [one.data_type for one in kept] == [TensorProto.INT8]


def test_the_likeliest_words_come_first(lstm: Subject, tmp_path: Path) -> None:
    artifact = artifact_of(lstm[1], Dense(), "float32", tmp_path / "model.acz")
    session = open_session(build(artifact, top_k=3).SerializeToString())
    feeds = {one.name: np.zeros((1, 1, 16), np.float32) for one in session.get_inputs()[1:]}
    names = ["top_words", "top_probabilities"]
    words, shares = session.run(names, {"words": np.array([[4]]), **feeds})
    expected = in_torch(artifact, torch.tensor([[4]])).softmax(-1).topk(3)
    assert words.tolist() == expected.indices.tolist()
    assert np.allclose(shares, expected.values)
    for top_k in (0, 100):
        with pytest.raises(ExportError, match=rf"`1 <= top_k <= \d+` must hold.*{top_k}"):
            build(artifact, top_k=top_k)


def test_only_language_models_are_exported(tmp_path: Path) -> None:
    plan = uncompressed_plan(Source.of(tiny_model(), TinyTask()))
    artifact = compress(tiny_model(), plan, TinyTask(), tmp_path / "model.acz")
    with pytest.raises(ExportError, match="holds no language model"):
        build(artifact)


def test_what_runs_does_not_change_what_is_stored(lstm: Subject, tmp_path: Path) -> None:
    source = lstm[1]
    exact = artifact_of(source, LowRank(rank=4), "float32", tmp_path / "exact.acz")
    fast = artifact_of(source, LowRank(rank=4), "int8", tmp_path / "fast.acz")
    assert "runtime" not in exact.plan.dumps()
    assert fast.plan.treatments["decoder.weight"].runtime == "int8"
    assert CompressionPlan.from_json(fast.plan.to_json()) == fast.plan
    for name, values in exact.state_dict().items():
        assert np.array_equal(values, fast.state_dict()[name])


def test_single_precision_must_agree(lstm: Subject, tmp_path: Path) -> None:
    artifact = artifact_of(lstm[1], LowRank(rank=4), "float32", tmp_path / "model.acz")
    for form in get_args(Form):
        assert abs(parity.check_parity(artifact, form).rise) < 1e-5
        assert abs(parity.check_parity(artifact, form, "int4").rise) > 1e-4  # told, not refused


def test_a_wrong_export_is_refused(
    lstm: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = artifact_of(lstm[1], Dense(), "float32", tmp_path / "model.acz")

    def damaged(*args: object, **options: object) -> onnx.ModelProto:
        model = build(artifact)
        bias = next(one for one in model.graph.initializer if one.name == "decoder.bias")
        values = onnx.numpy_helper.to_array(bias).copy()
        values[0] += 2
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        return model

    monkeypatch.setattr(parity, "build", damaged)
    with pytest.raises(ExportError, match=r"0\.05 % of difference are allowed"):
        parity.check_parity(artifact)


def test_states_and_sizes_follow_the_model(tmp_path: Path) -> None:
    _, source = subject_of(tmp_path, embedding_size=9, hidden_size=20, num_layers=3, cell="gru")
    artifact = artifact_of(source, Dense(), "int8", tmp_path / "model.acz")
    names = [one.name for one in build(artifact).graph.output]
    assert names == ["logits", "h0_next", "h1_next", "h2_next"]
    words = text(source)
    assert apart(in_steps(artifact, words), in_torch(artifact, words)) < 0.06


def test_entropy_coded_weights_run_like_any_other(lstm: Subject, tmp_path: Path) -> None:
    source = lstm[1]
    treatment = treat(Dense(), EntropyStep(step=0.3))
    plan = CompressionPlan(treatments=dict.fromkeys(source.weights.weights, treatment))
    Encoder(source).write(plan, tmp_path / "model.acz")
    artifact = open_artifact(tmp_path / "model.acz")
    words = text(source)
    assert apart(in_steps(artifact, words), in_torch(artifact, words)) < 1e-5
