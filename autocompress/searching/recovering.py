"""After a search: fine-tune the best plan, and beside it the uncompressed model as a control."""

from __future__ import annotations

from torch import nn

from autocompress.encoding.encoder import uncompressed_plan
from autocompress.knowledge.task import Task
from autocompress.outcome.objectives import Budget
from autocompress.outcome.results import TrialResult
from autocompress.plan import CompressionPlan
from autocompress.recovery import RecoverySettings, clean_up, recover
from autocompress.searching.folder import TRIAL, SearchFolder
from autocompress.support import progress
from autocompress.support.files import write_json
from autocompress.trial.evaluator import Evaluator

REGAINED = 0.1
"""A rise of the metric, in shares of the baseline, that fine-tuning can be trusted to regain."""


def recover_best(
    folder: SearchFolder,
    model: nn.Module,
    task: Task,
    evaluator: Evaluator,
    best: TrialResult,
    settings: RecoverySettings,
) -> None:
    """Fine-tune the best plan, then the control, each once; what is finished is kept.

    The control tells apart what recovery regains from what any further training of the model
    would gain: it is the uncompressed model, trained alike and for as long.

    Args:
        folder: The search.
        model: The original model.
        task: Gives the training losses.
        evaluator: Measures files under the search's budget.
        best: The trial whose plan is taken.
        settings: How to fine-tune.

    Raises:
        SearchError: If the task has no training losses.
    """
    unlimited = evaluator.within(None)
    measure = evaluator
    if evaluator.budget is None and _has_steps(best.plan):
        # Training moves the numbers, and with them the bytes that they need.
        measure = evaluator.within(Budget(best.size_bytes))
    jobs: list[tuple[str, Evaluator, CompressionPlan]] = [
        ("recovered", measure, best.plan),
        ("control", unlimited, uncompressed_plan(evaluator.source)),
    ]
    for name, judge, plan in jobs:
        artifact = folder.recovered(name, settings.label())
        record = artifact.with_name(TRIAL)
        if not record.exists():
            progress.say(f"fine-tuning the {name} model for {settings.label()}")
            result = recover(model, task, judge, plan, artifact.parent, settings, best.number)
            write_json(record, result.to_json())
            clean_up(artifact.parent)


def _has_steps(plan: CompressionPlan) -> bool:
    """Whether the size of a plan's file can be adjusted by the width of steps."""
    precisions = [treatment.precision for treatment in plan.treatments.values()]
    return any(precision.widened(1.0) != precision for precision in precisions)
