"""What must hold for every engine."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from autocompress.artifact import Artifact, open_artifact
from autocompress.encoding.encoder import Encoder, uncompressed_plan
from autocompress.engines.base import ENGINES, Engine, Latency
from autocompress.engines.torch import fill
from autocompress.errors import AutocompressError
from autocompress.knowledge.source import Source
from autocompress.knowledge.task import Task
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import Float32, Uniform
from autocompress.structures import Dense, LowRank, Structure
from autocompress.testing import samples
from autocompress.testing.rules import check_since, require, state_of, untouched

_ROUNDING = 1e-3  # of a score, for sums in another order
_ENDING = ".acz"
_RANK = 2


def check_engine(engine: type[Engine], model: nn.Module, task: Task) -> None:
    """Check an engine on a model that it can run.

    The model is stored uncompressed, in 4 bits, and in low rank, all to run in single precision.
    The engine must give each the score that it has in PyTorch, up to rounding.

    Args:
        engine: The class.
        model: In evaluation mode; it is not changed.
        task: Scores the model.

    Raises:
        AssertionError: If a rule is broken.
    """
    name = engine.name
    require(ENGINES.get(name) is engine, f"@ENGINES.register must have its name: {name!r}")
    check_since(engine)
    fits = engine.suffix is None or (engine.suffix[:1] == "." and engine.suffix != _ENDING)
    require(fits, "`suffix` must be None, or begin with a dot", suffix=engine.suffix)
    before = state_of(model)
    with TemporaryDirectory() as folder, untouched(f"engine '{name}'"):
        artifacts = _artifacts(Source.of(model, task), Path(folder))
        made = engine(copy.deepcopy(model), artifacts[0])
        scores = [_check_score(made, artifact, model, task) for artifact in artifacts]
        again = float(task.evaluate(made.load(artifacts[0]), "valid"))
        require(again == scores[0], "equal artifacts must have equal scores", again=again)
        _check_latency(made, artifacts[0])
        _check_files(made, artifacts)
        _check_misfit(made, Path(folder))
    require(state_of(model) == before, f"engine '{name}' must not reach the user's model")


def _artifacts(source: Source, folder: Path) -> list[Artifact]:
    """Store a model in three ways, uncompressed first."""
    plans = {"uncompressed": uncompressed_plan(source)}
    four_bits = Treatment(structure=Dense(), precision=Uniform(bits=4, group="row"))
    plans["coarse"] = CompressionPlan(treatments=dict.fromkeys(source.weights.weights, four_bits))
    structure = LowRank(rank=_RANK)
    low: dict[str, Structure] = {
        name: structure if structure.misfit(weight.matrix.shape) is None else Dense()
        for name, weight in source.weights.weights.items()
    }
    plans["low-rank"] = CompressionPlan(
        treatments={
            name: Treatment(structure=one, precision=Float32()) for name, one in low.items()
        }
    )
    for name, plan in plans.items():
        Encoder(source).write(plan, folder / f"{name}{_ENDING}")
    return [open_artifact(folder / f"{name}{_ENDING}") for name in plans]


def _check_score(engine: Engine, artifact: Artifact, model: nn.Module, task: Task) -> float:
    """Check what is loaded, and return its score."""
    loaded = engine.load(artifact)
    where = f"what engine '{engine.name}' loads from the {artifact.path.stem} model"
    require(isinstance(loaded, nn.Module), f"{where} must be a module", loaded=type(loaded))
    score = float(task.evaluate(loaded, "valid"))
    expected = float(task.evaluate(fill(copy.deepcopy(model), artifact), "valid"))
    near = math.isclose(score, expected, rel_tol=_ROUNDING, abs_tol=_ROUNDING)
    require(near, f"{where} must score as in PyTorch", score=score, expected=expected)
    return score


def _check_latency(engine: Engine, artifact: Artifact) -> None:
    latency = engine.latency(engine.load(artifact))
    if not engine.measures_latency:
        require(latency is None, "`measures_latency` must say what `latency` does", got=latency)
        return
    require(isinstance(latency, Latency), "`latency` must measure", got=latency)
    assert latency is not None
    ordered = 0 < latency.p50_ms <= latency.p95_ms < math.inf
    sane = 0 < latency.ratio < math.inf and 0 <= latency.noise < math.inf and latency.rounds > 0
    require(ordered and sane, "a latency must be positive and finite", got=latency)


def _check_misfit(engine: Engine, folder: Path) -> None:
    """Require an error of this package for what is the artifact of another model."""
    exact = Treatment(structure=Dense(), precision=Float32())
    other = samples.stored(samples.by_shape(((3, 2),)), exact, folder / f"other{_ENDING}")
    where = f"engine '{engine.name}' must raise ArtifactError for another model's artifact"
    try:
        engine.load(other)
    except AutocompressError:
        return
    except Exception as error:
        raise AssertionError(f"{where}; but got {type(error).__name__}: {error}") from error
    raise AssertionError(where)


def _check_files(engine: Engine, artifacts: list[Artifact]) -> None:
    """Require that what the engine leaves beside the artifacts is what it says."""
    folder = artifacts[0].path.parent
    expected = {artifact.path.name for artifact in artifacts}
    if engine.suffix is not None:
        expected |= {artifact.path.with_suffix(engine.suffix).name for artifact in artifacts}
    found = {path.name for path in folder.iterdir()}
    require(found == expected, "files beside an artifact must end in `suffix`", found=found)
    for artifact in artifacts:
        same = open_artifact(artifact.path).source_sha256 == artifact.source_sha256
        require(same, "an engine must leave the artifacts as they are", path=artifact.path.name)
