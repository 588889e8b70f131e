"""What must hold for every objective."""

from __future__ import annotations

import copy
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from autocompress.artifact import Artifact, open_artifact
from autocompress.encoding.encoder import Encoder
from autocompress.engines.torch import load
from autocompress.knowledge.calibration import Calibration
from autocompress.knowledge.source import Source
from autocompress.knowledge.weights import ModelWeights
from autocompress.outcome.measured import Measured
from autocompress.outcome.names import LATENCY, LATENCY_MS, LATENCY_NOISE, LATENCY_P95_MS
from autocompress.outcome.objectives import PHASES, Objective
from autocompress.plan import Treatment
from autocompress.precisions import Uniform
from autocompress.structures import Dense
from autocompress.testing import samples
from autocompress.testing.rules import check_text, require, state_of, unraised, untouched

_TIMES = {LATENCY: 0.5, LATENCY_MS: 2.0, LATENCY_P95_MS: 3.0, LATENCY_NOISE: 0.01}


def check_objective(objective: Objective, model: nn.Module | None = None) -> None:
    """Check an objective.

    Args:
        objective: What is checked.
        model: What is compressed to be measured, where the objective needs a model of some kind;
            it is not changed.

    Raises:
        AssertionError: If a rule is broken.
    """
    if objective.unit:
        check_text("`unit`", objective.unit)
    model = model or samples.Holder(samples.by_shape(samples.SHAPES))
    treatment = Treatment(structure=Dense(), precision=Uniform(bits=4))
    with TemporaryDirectory() as folder, torch.no_grad():
        path, plan = Path(folder) / "model.acz", samples.plan_of(model, treatment)
        Encoder(Source(ModelWeights.of(model), Calibration({}, ()))).write(plan, path)
        artifact = open_artifact(path)
        _check_measure(objective, artifact, load(artifact, copy.deepcopy(model)))


def _check_measure(objective: Objective, artifact: Artifact, model: nn.Module) -> None:
    """Measure with what is known in the objective's phase, and with nothing more."""
    where = f"objective '{objective.name}' of phase \"{objective.phase}\""
    phase, before = PHASES.index(objective.phase), state_of(model)
    data = artifact.path.read_bytes()
    measured = Measured(
        artifact.plan,
        artifact.path if phase >= PHASES.index("file") else artifact.path.with_name("missing"),
        artifact if phase >= PHASES.index("file") else None,
        model if phase >= PHASES.index("engine") else None,
        _TIMES if phase >= PHASES.index("engine") else {},
    )
    with untouched(where):
        first, second = (unraised(where, lambda: objective.measure(measured)) for _ in range(2))
    require(first == second, f"{where} must give the same number each time", got=(first, second))
    require(state_of(model) == before, f"{where} must not change the model")
    require(artifact.path.read_bytes() == data, f"{where} must not change the file")
