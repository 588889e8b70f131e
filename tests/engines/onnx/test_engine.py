"""The ONNX engine: runs models and structures it has never heard of, and says what it lacks."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from strategies import treat
from towers import HIDDEN, WIDTH, Copying, EvenOdd, Tower

from autocompress.artifact import Artifact, open_artifact
from autocompress.encoding.compress import compress
from autocompress.encoding.encoder import uncompressed_plan
from autocompress.engines.base import ENGINES, Engine
from autocompress.engines.onnx import maps
from autocompress.engines.onnx.engine import OnnxEngine
from autocompress.engines.torch import load
from autocompress.errors import ExportError
from autocompress.knowledge.source import Source
from autocompress.plan import CompressionPlan
from autocompress.precisions import Float32
from autocompress.structures import LowRank, Structure


def tower() -> Tower:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Tower()


def stored(path: Path, task: Copying, structure: Structure | None = None) -> Artifact:
    """Store a tower, its weights in a structure or as they are."""
    treatments = dict(uncompressed_plan(Source.of(tower(), task)).treatments)
    if structure is not None:
        treatments |= dict.fromkeys(("lower.weight", "upper.weight"), treat(structure, Float32()))
    return compress(tower(), CompressionPlan(treatments=treatments), task, path)


def made(folder: Path, task: Copying) -> Engine:
    return ENGINES["onnx"](tower(), stored(folder / "uncompressed.acz", task))


def constants(path: Path) -> dict[str, tuple[int, ...]]:
    return {one.name: tuple(one.dims) for one in onnx.load(path).graph.initializer}


def test_the_engine_is_found_by_its_name() -> None:
    assert ENGINES["onnx"] is OnnxEngine
    assert OnnxEngine.name == "onnx"
    assert OnnxEngine.measures_latency


def test_what_is_evaluated_is_the_file_beside_the_artifact(tmp_path: Path) -> None:
    task = Copying()
    artifact = stored(tmp_path / "model.acz", task, LowRank(rank=4))
    engine = made(tmp_path, task)
    loaded = engine.load(artifact)
    found = task.evaluate(loaded, "valid")
    assert found == pytest.approx(task.evaluate(load(artifact, tower()), "valid"), rel=1e-5)
    assert found != pytest.approx(task.evaluate(tower(), "valid"), rel=1e-5)
    assert OnnxEngine.suffix is not None
    path = artifact.path.with_suffix(OnnxEngine.suffix)
    sizes = sorted(constants(path).values(), key=len)
    assert sizes == [(HIDDEN,), (WIDTH, 4), (4, HIDDEN), (HIDDEN, 4), (4, WIDTH)]


def test_a_structure_of_another_package_runs_from_its_factors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Copying()
    artifact = stored(tmp_path / "model.acz", task, EvenOdd(rank=3))
    engine = made(tmp_path, task)
    expected = load(artifact, tower())(task.vectors)
    for cost, runs_decoded in ((0, False), (200, True)):
        # Moving the rows to their places costs more than so small a product.
        monkeypatch.setattr(maps, "_COST_OF_REORDERING", cost)
        with torch.no_grad():
            found = engine.load(artifact)(task.vectors)
        assert torch.allclose(found, expected, atol=1e-5)
        sizes = list(constants(tmp_path / "model.onnx").values())
        assert ((WIDTH, HIDDEN) in sizes) is runs_decoded
        assert (sizes.count((3, HIDDEN // 2)) == 2) is not runs_decoded


def test_factors_are_decoded_once_and_weights_only_where_they_run_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Copying()
    artifact = stored(tmp_path / "model.acz", task, LowRank(rank=4))
    engine = made(tmp_path, task)

    def fail(*_: object) -> None:
        raise AssertionError("reconstructed")

    monkeypatch.setattr(LowRank, "reconstruct", fail)
    engine.load(artifact)


def test_latencies_stand_beside_the_uncompressed_model(tmp_path: Path) -> None:
    task = Copying()
    engine = made(tmp_path, task)
    latency = engine.latency(engine.load(open_artifact(tmp_path / "uncompressed.acz")))
    assert latency is not None
    assert latency.p95_ms >= latency.p50_ms > 0
    assert 15 <= latency.rounds <= 200
    assert latency.ratio == pytest.approx(1, rel=0.5)  # it is the same model
    assert np.isfinite(latency.noise)


@pytest.mark.parametrize("architecture", [None, "spire"])
def test_models_without_an_exporter_are_refused(architecture: str | None, tmp_path: Path) -> None:
    message = (
        "latency is measured in ONNX Runtime, for which models of the architectures .*recurrent_lm"
        f".* can be exported, but this one is of {architecture or 'an unknown one'}; choose"
    )
    with pytest.raises(ExportError, match=message):
        made(tmp_path, Copying(architecture))
