"""What must hold for every engine."""

from __future__ import annotations

import copy
import math
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from autocompress.artifact import Artifact
from autocompress.encoding.compress import compress
from autocompress.encoding.encoder import uncompressed_plan
from autocompress.engines.base import ENGINES, Engine, Latency
from autocompress.engines.torch import load
from autocompress.errors import AutocompressError
from autocompress.knowledge.source import Source
from autocompress.knowledge.task import Task
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import Float32, Uniform
from autocompress.structures import Dense
from autocompress.testing import samples
from autocompress.testing.rules import (
    arguments,
    check_outputs,
    check_since,
    require,
    state_of,
    unraised,
    untouched,
)

_TOLERANCE = 1e-3


def check_engine(
    engine: type[Engine], model: nn.Module, batch: Any, task: Task | None = None
) -> None:
    """Check an engine on a model that it can run.

    Args:
        engine: The class that is checked.
        model: A model that it can run.
        batch: What the model's `forward` takes: a tuple of arguments, or the only one.
        task: Of the model, where the engine needs what a task tells of it.

    Raises:
        AssertionError: If a rule is broken.
    """
    _check_declarations(engine)
    given, before = arguments(batch), state_of(model)
    task = task or samples.Running(given)
    with TemporaryDirectory() as folder, torch.no_grad():
        exact, small = _artifacts(model, task, Path(folder))
        files = [(one.path, one.path.read_bytes()) for one in (exact, small)]
        own = copy.deepcopy(model)
        with untouched(engine.__name__, batch=given):
            running = unraised(f"{engine.__name__} of a model", lambda: engine(own, exact))
            _check_loading(running, model, given, (exact, small))
            _check_latency(running, exact)
        _check_misfit(running, Path(folder))
        for path, data in files:
            require(path.read_bytes() == data, f"{engine.__name__} must not change files")
    require(state_of(model) == before, f"{engine.__name__} must not reach the user's model")


def _check_declarations(engine: type[Engine]) -> None:
    found = ENGINES.get(engine.name)
    require(found is engine, "the class must be registered in ENGINES by its `name`", found=found)
    check_since(engine)
    suffix = engine.suffix
    fits = suffix is None or re.fullmatch(r"\.\w+", suffix)
    require(fits, "`suffix` must be how files end, as in '.onnx', or None", suffix=suffix)


def _artifacts(model: nn.Module, task: Task, folder: Path) -> tuple[Artifact, Artifact]:
    """Return the model in single precision, and matrices of it in eight bits."""
    source = Source.of(copy.deepcopy(model), task)
    exact = uncompressed_plan(source)
    eight = {
        name: Treatment(structure=Dense(), precision=Uniform(bits=8))
        for name, weight in source.weights.weights.items()
        if weight.values.ndim > 1
    }
    require(eight, "the model must have a matrix")
    small = CompressionPlan(treatments={**exact.treatments, **eight})
    return tuple(  # type: ignore[return-value]
        compress(copy.deepcopy(model), plan, task, folder / name)
        for name, plan in (("exact.acz", exact), ("small.acz", small))
    )


def _check_loading(
    engine: Engine, model: nn.Module, given: tuple[Any, ...], artifacts: tuple[Artifact, Artifact]
) -> None:
    exact, small = artifacts
    for artifact, what in ((exact, "an artifact"), (small, "another"), (exact, "the first again")):
        where = f"{type(engine).__name__}.load of {what}"
        loaded = unraised(where, lambda artifact=artifact: engine.load(artifact))  # type: ignore[misc]
        is_ready = isinstance(loaded, nn.Module) and not loaded.training
        require(is_ready, f"{where} must give a module in evaluation mode", got=type(loaded))
        expected = load(artifact, copy.deepcopy(model))(*given)
        rule = f"{where} must compute what the artifact's weights do"
        check_outputs(loaded(*given), expected, rule, _TOLERANCE)


def _check_latency(engine: Engine, artifact: Artifact) -> None:
    loaded = engine.load(artifact)
    found = unraised("`latency`", lambda: engine.latency(loaded))
    require(
        (found is not None) == engine.measures_latency,
        "`latency` must give what `measures_latency` says",
        latency=found,
        measures_latency=engine.measures_latency,
    )
    if found is None:
        return
    require(isinstance(found, Latency), "`latency` must give a Latency", latency=found)
    numbers = (found.p50_ms, found.p95_ms, found.ratio, found.noise)
    fits = all(map(math.isfinite, numbers)) and 0 < found.p50_ms <= found.p95_ms
    fits = fits and found.ratio > 0 and found.noise >= 0 and found.rounds > 0
    require(fits, "`0 < p50_ms <= p95_ms`, `ratio > 0` and `noise >= 0` must hold", latency=found)


def _check_misfit(engine: Engine, folder: Path) -> None:
    """Require an error of this package for what is an artifact of another model."""
    treatment = Treatment(structure=Dense(), precision=Float32())
    other = samples.stored(samples.by_shape(((3, 2),)), treatment, folder / "other.acz")
    where = f"{type(engine).__name__}.load of another model's artifact"
    try:
        engine.load(other)
    except AutocompressError:
        return
    except Exception as error:
        raise AssertionError(
            f"{where} must raise ArtifactError; but got {type(error).__name__}: {error}"
        ) from error
    raise AssertionError(f"{where} must raise ArtifactError")
