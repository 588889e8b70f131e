"""What trials measure, and in what: the objectives of a task, engines, times and predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from autocompress.artifact import Artifact, open_artifact
from autocompress.encoding.encoder import Encoder, uncompressed_plan
from autocompress.engines.base import ENGINES, Engine
from autocompress.knowledge.prediction import errors, predicted_loss_rise
from autocompress.knowledge.source import Source
from autocompress.knowledge.task import Task
from autocompress.layers.copies import needed_copy
from autocompress.outcome.names import LATENCY, LATENCY_MS, LATENCY_NOISE, LATENCY_P95_MS
from autocompress.outcome.objectives import Objective, latency_objective, size_objective


def objectives_of(
    task: Task, extra: Sequence[Objective] = (), *, latency: bool = False
) -> tuple[Objective, ...]:
    """Return all that a trial measures: size, the task's metric, latency if it counts, further.

    Args:
        task: Has the metric.
        extra: A user's own.
        latency: Whether the time that the model takes counts.
    """
    metric = Objective(task.metric, task.direction, lambda measured: measured.values[task.metric])
    timed = (latency_objective(),) if latency else ()
    return (size_objective(), metric, *timed, *extra)


def engine_of(name: str, model: nn.Module, encoder: Encoder) -> Engine:
    """Make an engine for a model.

    Args:
        name: Of the engine, as in `ENGINES`.
        model: The engine gets a copy.
        encoder: Of the same model.

    Raises:
        ExportError: If the engine cannot run the model.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "uncompressed.acz"
        encoder.write(uncompressed_plan(encoder.source), path)
        return ENGINES[name](needed_copy(model, "an engine runs a copy"), open_artifact(path))


def times(engine: Engine, model: nn.Module) -> dict[str, float]:
    """Return by name how long a loaded model takes; nothing where the engine does not measure."""
    latency = engine.latency(model)
    if latency is None:
        return {}
    milliseconds = {LATENCY_MS: latency.p50_ms, LATENCY_P95_MS: latency.p95_ms}
    return {LATENCY: latency.ratio, **milliseconds, LATENCY_NOISE: latency.noise}


def predicted(source: Source, artifact: Artifact) -> dict[str, float]:
    """Return by weight the predicted rise of the loss for the errors that a file makes.

    Whatever the engine: it depends on the file alone. Nothing where sensitivities are not known.
    """
    if not source.calibration.sensitivities:
        return {}
    weights = source.weights.weights
    rises = {
        name: predicted_loss_rise(source, name, errors(blocks, weights[name].matrix))
        for name, blocks in artifact.weights()
    }
    return rises if all(map(math.isfinite, rises.values())) else {}
