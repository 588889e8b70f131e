"""One file for a budget, without trials: the allocation at one price per bit, measured."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autocompress.artifact import Artifact, open_artifact
from autocompress.encoding.budgets import budget_in_bytes
from autocompress.encoding.encoder import Encoder, uncompressed_plan
from autocompress.engines.torch import TorchEngine
from autocompress.errors import BudgetError
from autocompress.knowledge.guarded import GuardedTask, guarded
from autocompress.knowledge.kept import Kept
from autocompress.knowledge.overview import overview
from autocompress.knowledge.sensitivity import with_sensitivities
from autocompress.knowledge.source import Source
from autocompress.knowledge.task import Task
from autocompress.layers.copies import needed_copy, on_device, plain
from autocompress.outcome.budgets import RelativeBudget
from autocompress.outcome.limits import Budget, format_bytes, rise_unit
from autocompress.outcome.metric import Direction, distance
from autocompress.plan import CompressionPlan
from autocompress.searching.beginning import FirstLook
from autocompress.searching.openings.allocation import allocated_to_budget
from autocompress.searching.openings.menus import menus
from autocompress.searching.openings.uniform import file_size
from autocompress.searching.space.language import load_space
from autocompress.searching.space.questions import smallest_plan
from autocompress.support import progress
from autocompress.support.process import process_kept
from autocompress.support.threads import one_thread

_SPACE = "quick"


@dataclass(frozen=True)
class OneShot:
    """A file that was made without a search, and what it is worth.

    Attributes:
        artifact: The file.
        plan: How it stores each weight.
        size_bytes: Its length.
        uncompressed_bytes: Length of the file of the uncompressed model, in single precision.
        metric: Name of the task's metric.
        direction: Whether less or more of it is better.
        score: The metric of the file, reloaded, on validation data.
        uncompressed_score: The same of the uncompressed model.
        seconds: How long it took, in seconds of wall time.
    """

    artifact: Path
    plan: CompressionPlan
    size_bytes: int
    uncompressed_bytes: int
    metric: str
    direction: Direction
    score: float
    uncompressed_score: float
    seconds: float

    @property
    def times_smaller(self) -> float:
        """How many times smaller the file is than that of the uncompressed model."""
        return self.uncompressed_bytes / self.size_bytes

    @property
    def rise(self) -> float:
        """How much worse the metric is, in shares of the uncompressed model's; 0.01 is 1 %.

        In the metric's own unit where that is 0.
        """
        worse = distance(self.score, self.uncompressed_score, self.direction)
        return worse / rise_unit(self.uncompressed_score)

    def to_json(self) -> dict[str, Any]:
        """Return what is known as a JSON object; metrics as `autocompress search` names them."""
        return {
            "artifact": str(self.artifact),
            "size_bytes": self.size_bytes,
            f"valid_{self.metric}": self.score,
            "baseline": {
                "size_bytes": self.uncompressed_bytes,
                f"valid_{self.metric}": self.uncompressed_score,
            },
            "times_smaller": self.times_smaller,
            "rise": self.rise,
            "seconds": self.seconds,
            "plan": self.plan.to_json(),
        }


@process_kept()
def compress_to_budget(
    model: nn.Module,
    task: Task,
    budget: str | int | Budget | RelativeBudget | CompressionPlan,
    path: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
) -> OneShot:
    """Compress a model into one file within a budget, without trials, and measure the file.

    Every weight is stored at the same price per bit, by what its errors cost on training data;
    this is the plan with which a search begins. What was learnt of model and data is kept, so
    that another budget takes a fraction of the time.

    Args:
        model: It is not changed.
        task: Says what a good model is; training losses make for far better files.
        budget: Limit on the size of the file, such as "2MB", a number of bytes, "10x" or "3bpw";
            or a plan, which is then carried out instead.
        path: The file; replaced if it exists.
        device: Where the model is calibrated and evaluated, as for `search`.

    Raises:
        BudgetError, DeviceError: If it cannot be understood, or there is none such.
        ModelError: If the model cannot be compressed.
        TaskError: If the task raises an exception, or gives what it must not.
        PlanError: If a plan does not fit the model.
    """
    start = time.perf_counter()
    own, path = guarded(task), Path(path)
    model = on_device(plain(model), device)
    limit = None if isinstance(budget, CompressionPlan) else budget_in_bytes(budget, model, own)
    uncompressed = _uncompressed(model, own)
    encoder = Encoder(_learnt(model, own, plans=limit is not None))
    plan = budget if isinstance(budget, CompressionPlan) else _plan_for(encoder, limit or 0)
    with one_thread():
        encoder.write(plan, path)
    artifact = open_artifact(path)
    return OneShot(
        artifact=path,
        plan=artifact.plan,
        size_bytes=artifact.size_bytes,
        uncompressed_bytes=file_size(encoder, uncompressed_plan(encoder.source)),
        metric=own.metric,
        direction=own.direction,
        score=_score(artifact, model, own),
        uncompressed_score=uncompressed,
        seconds=round(time.perf_counter() - start, 1),
    )


def _uncompressed(model: nn.Module, task: GuardedTask) -> float:
    progress.say("evaluating the model as it is")
    return FirstLook.of(model, task).score


def _learnt(model: nn.Module, task: GuardedTask, *, plans: bool) -> Source:
    """Return what is known of a model and its data, and what planning needs besides."""
    kept = Kept.of(model, task)
    source = Source.of(model, task, kept)
    for line in overview(model, source):
        progress.say(line)
    return with_sensitivities(source, model, task, kept) if plans else source


def _score(artifact: Artifact, model: nn.Module, task: GuardedTask) -> float:
    progress.say("measuring the file")
    engine = TorchEngine(needed_copy(model, "a file is measured in a copy"), artifact)
    return task.evaluate(engine.load(artifact), "valid")


def _plan_for(encoder: Encoder, limit: int) -> CompressionPlan:
    """Return the finest allocation whose file fits.

    Raises:
        BudgetError: If none does.
    """
    space = load_space(_SPACE)
    progress.say(f"planning for {format_bytes(limit)}")
    with one_thread():
        offered = menus(space, encoder)
        plan = allocated_to_budget(offered, space, encoder, limit).plan
        if file_size(encoder, plan) <= limit:
            return plan
        plan = smallest_plan(space, encoder)
        least = file_size(encoder, plan)
    if least <= limit:
        return plan
    raise BudgetError(
        f"`budget >= {format_bytes(least)}` must hold for this model without a search, but got "
        f"{format_bytes(limit)}; ask for more, or search with `autocompress search`"
    )
