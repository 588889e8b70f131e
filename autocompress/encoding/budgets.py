"""The budget of a search in bytes: known, and refused if it cannot be, before any calibration."""

from __future__ import annotations

from typing import NamedTuple

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
    asked, extent = parse_budget(budget), extent_of(model, task)
    limit = asked if isinstance(asked, Budget) else asked.of(extent.whole, extent.n_weights)
    if limit.limit_bytes < extent.least:
        named = f"{asked}, {limit}" if isinstance(asked, RelativeBudget) else str(limit)
        raise BudgetError(
            f"`budget >= {format_bytes(extent.least)}` must hold for this model, which is what "
            f"the smallest file takes without a single weight (header{extent.others}), but got "
            f"{named}; ask for more"
        )
    return limit.limit_bytes


class Extent(NamedTuple):
    """How much there is of a model.

    Attributes:
        least: What a file takes without a single weight, in bytes.
        whole: What the uncompressed model's file takes in single precision, in bytes.
        n_weights: How many numbers the weights have.
        others: What files hold besides weights and header, as in ", biases".
    """

    least: int
    whole: int
    n_weights: int
    others: str


def extent_of(model: nn.Module, task: Task) -> Extent:
    """Return how much there is of a model; nothing is evaluated.

    Raises:
        ModelError: If the model cannot be compressed.
        TaskError: If the task raises an exception.
    """
    source = blank_source(model, task)
    least, whole = Encoder(source).sizes(uncompressed_plan(source))
    n_weights = sum(weight.values.size for weight in source.weights.weights.values())
    return Extent(least, whole, n_weights, _others(source))


def blank_source(model: nn.Module, task: Task) -> Source:
    """Return a model of which the data have told nothing: enough to store it uncompressed.

    Raises:
        ModelError: If the model cannot be compressed.
        TaskError: If the task raises an exception.
    """
    task, weights = guarded(task), ModelWeights.of(model)
    blank = Calibration({}, ())
    return Source(weights, blank, task.model_config(plain(model)), task.assets())


def _others(source: Source) -> str:
    parts = [*source.assets, *(["tensors that are no weights"] if source.weights.buffers else [])]
    return "".join(f", {part}" for part in parts)
