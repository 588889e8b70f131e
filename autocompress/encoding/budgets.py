"""The budget of a search in bytes: known, and refused if it cannot be, before any calibration."""

from __future__ import annotations

from torch import nn

from autocompress.encoding.encoder import Encoder, uncompressed_plan
from autocompress.errors import BudgetError
from autocompress.knowledge.calibration import Calibration
from autocompress.knowledge.guarded import guarded
from autocompress.knowledge.source import Source
from autocompress.knowledge.task import Task
from autocompress.knowledge.weights import ModelWeights
from autocompress.layers.copies import plain
from autocompress.outcome.budgets import RelativeBudget, parse_budget
from autocompress.outcome.limits import Budget, format_bytes


def budget_in_bytes(
    budget: str | int | Budget | RelativeBudget, model: nn.Module, task: Task
) -> int:
    """Understand a budget for a model, and refuse one that no file can keep.

    Takes well under a second: all that is needed is how long the uncompressed model's file is, of
    which header, vocabulary and buffers stay whatever becomes of the weights.

    Args:
        budget: As `parse_budget` takes it.
        model: It is not changed.
        task: Tells what files go into every artifact; nothing is evaluated.

    Returns:
        The most bytes that the file may have.

    Raises:
        BudgetError: If it cannot be understood, or is below what a file takes without any weight.
        ModelError: If the model cannot be compressed.
        TaskError: If the task raises an exception.
    """
    asked = parse_budget(budget)
    task, weights = guarded(task), ModelWeights.of(model)
    blank = Calibration({}, ())
    source = Source(weights, blank, task.model_config(plain(model)), task.assets())
    least, whole = Encoder(source).sizes(uncompressed_plan(source))
    n_weights = sum(weight.values.size for weight in weights.weights.values())
    limit = asked if isinstance(asked, Budget) else asked.of(whole, n_weights)
    if limit.limit_bytes < least:
        named = f"{asked}, {limit}" if isinstance(asked, RelativeBudget) else str(limit)
        raise BudgetError(
            f"`budget >= {format_bytes(least)}` must hold for this model, which is what the "
            f"smallest file takes without a single weight (header{_others(source)}), but got "
            f"{named}; ask for more"
        )
    return limit.limit_bytes


def _others(source: Source) -> str:
    parts = [*source.assets, *(["tensors that are no weights"] if source.weights.buffers else [])]
    return "".join(f", {part}" for part in parts)
