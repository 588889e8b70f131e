"""The fine-tuning itself: in segments, each of which ends in a checkpoint and a measured file."""

from __future__ import annotations

import math
from pathlib import Path

from torch import nn

from autocompress.knowledge.task import Task
from autocompress.layers.copies import untouched
from autocompress.outcome.limits import format_bytes
from autocompress.outcome.metric import cost
from autocompress.outcome.names import SIZE
from autocompress.outcome.results import TrialResult
from autocompress.plan import CompressionPlan
from autocompress.recovery.fine_tuning import FineTuning
from autocompress.recovery.fitting import fit_steps
from autocompress.recovery.log import Log
from autocompress.recovery.settings import RecoverySettings
from autocompress.support import progress
from autocompress.support.files import make_folder, rename
from autocompress.trial.evaluator import Evaluator

_PATIENCE = 3
_CHECKPOINT, _ARTIFACT = "checkpoint.pt", "model.acz"


def recover(
    model: nn.Module,
    task: Task,
    evaluator: Evaluator,
    plan: CompressionPlan,
    folder: Path,
    settings: RecoverySettings,
    number: int,
) -> TrialResult:
    """Fine-tune a model in the representation of a plan and keep the best file.

    After each segment of the budget the factors are written into a file, which is reloaded and
    measured; with a limit on the size, steps are first widened or narrowed until the file just
    fits. What it begins with is measured as well, so that nothing worse is kept. While pruning
    goes on, or earlier steps of the papers' pipeline, there is nothing to measure yet. The best
    that is feasible stays in `folder / "model.acz"`. Training ends early after three files in a
    row that are no better, but not in the first half, where large steps of training hide what
    has been gained. Called again, it continues after the last segment that was finished.

    Args:
        model: The original model, which is also the teacher; it is not changed.
        task: Gives the training losses.
        evaluator: Measures files.
        plan: How every weight is stored.
        folder: Where the file and the checkpoint lie.
        settings: How long and how to train.
        number: The trial whose plan it is.

    Returns:
        The best file's numbers; if none is feasible, those of the smallest.

    Raises:
        TaskError: If the task has no training losses, or raises an exception.
        ObjectiveError: If an objective of the user's own is no finite number.
    """
    make_folder(folder)
    checkpoint, artifact = folder / _CHECKPOINT, folder / _ARTIFACT
    with untouched(model) as teacher:
        run = FineTuning(teacher, task, evaluator.source, plan, settings, checkpoint)
        _train(run, evaluator, folder, settings.segments, number)
    best = folder / _file_of(run.best_segment)
    if best.exists():  # or else it was moved, and then the process ended
        rename(best, artifact)
    assert run.best is not None
    return run.best


def _train(
    run: FineTuning, evaluator: Evaluator, folder: Path, segments: int, number: int
) -> None:
    """Train segment by segment, as long as it is promising."""
    task = evaluator.task
    log = Log(folder, run.steps)
    with progress.bar("recovery", segments, done=run.segment) as bar:
        if not run.segment and run.is_complete:
            plan, factors = run.represented.plan, run.represented.factors()
            run.best = evaluator.run(number, plan, folder / _file_of(0), factors)
            log.measured(0, run.best.values)
        while run.segment < segments and run.is_promising(_PATIENCE):
            run.train_segment()
            log.trained(run.steps, run.losses)
            note = f"{run.steps} steps"
            if run.is_complete:
                result = _measure(run, evaluator, folder / _file_of(run.segment), number)
                log.measured(run.steps, result.values)
                if run.best is None or _better(result, run.best, task):
                    run.best, run.best_segment = result, run.segment
                score = result.values.get(task.metric, math.nan)
                note += f", {format_bytes(result.size_bytes)}, {task.metric} {score:.4g}"
                note += f"; best {run.best.values.get(task.metric, math.nan):.4g}"
            run.save(folder / _CHECKPOINT)
            log.save()
            bar.advance(note=note)
        if run.segment < segments:
            progress.say(f"no better for {_PATIENCE} files: fine-tuning ends early")


def _measure(run: FineTuning, evaluator: Evaluator, path: Path, number: int) -> TrialResult:
    represented = run.represented
    limit = evaluator.limits.get(SIZE)
    if limit is not None:
        fit_steps(represented, evaluator.encoder, int(limit.bound), path)
    return evaluator.run(number, represented.plan, path, represented.factors())


def _file_of(segment: int | str) -> str:
    # One file for each segment: the checkpoint alone decides which of them is the best.
    return f"segment-{segment}.acz"


def is_under_way(folder: Path) -> bool:
    """Whether a recovery was begun there and has not finished."""
    return (folder / _CHECKPOINT).exists()


def clean_up(folder: Path) -> None:
    """Remove what only an unfinished recovery needs: the checkpoint, and the other files."""
    (folder / _CHECKPOINT).unlink(missing_ok=True)
    for path in folder.glob("segment-*"):
        path.unlink()


def _better(result: TrialResult, best: TrialResult, task: Task) -> bool:
    """Whether a file is to be kept: feasible before not, then measured, by metric, by size."""

    def rank(trial: TrialResult) -> tuple[bool, bool, float]:
        if task.metric not in trial.values:
            return True, True, trial.size_bytes
        return not trial.feasible, False, cost(trial.values[task.metric], task.direction)

    return rank(result) < rank(best)
