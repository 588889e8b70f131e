"""Options of `autocompress search` that ask for fine-tuning, without labels or on labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from torch import nn

    from autocompress.knowledge.task import Task
    from autocompress.recovery import RecoverySettings


def check_fine_tuning(
    tune: str | None, recover: str | None, dropout: float | None, distillation: float | None
) -> None:
    """Refuse options of a fine-tuning that is not asked for.

    Raises:
        click.UsageError: There are such.
    """
    if recover is None and distillation is not None:
        raise click.UsageError("--distillation needs --recover, such as 10m")
    if recover is None and tune is None and dropout is not None:
        raise click.UsageError("--dropout needs --tune or --recover, such as 10m")


def label_free(tune: str | None, dropout: float | None, seed: int) -> RecoverySettings | None:
    """Understand --tune.

    Raises:
        BudgetError: It is neither a time nor a number of steps, or --dropout is out of range.
    """
    from autocompress.recovery import RecoveryBudget, RecoverySettings

    if tune is None:
        return None
    settings = RecoverySettings.label_free(RecoveryBudget.parse(tune), seed)
    return settings if dropout is None else replace(settings, dropout=dropout)


def on_labels(
    recover: str | None,
    dropout: float | None,
    distillation: float | None,
    seed: int,
    *,
    taught: bool,
) -> RecoverySettings | None:
    """Understand --recover.

    Raises:
        BudgetError: It is neither a time nor a number of steps, or an option is out of range.
    """
    from autocompress.recovery import RecoveryBudget, RecoverySettings
    from autocompress.searching.request import SHARE_OF_TEACHER

    if recover is None:
        return None
    share = SHARE_OF_TEACHER if taught else 0.0
    share = share if distillation is None else distillation
    budget = RecoveryBudget.parse(recover)
    settings = RecoverySettings(budget, distillation=share, seed=seed)
    return settings if dropout is None else replace(settings, dropout=dropout)


def check_teacher(folder: Path | None, factory: str | None, *, is_used: bool) -> None:
    """Refuse a teacher of what is no model folder, or without anything to teach.

    Raises:
        click.UsageError: It is so.
    """
    if folder is None:
        return
    if factory is not None:
        raise click.UsageError("--teacher belongs to MODEL; in Python, `teacher=` takes any model")
    if not is_used:
        raise click.UsageError("--teacher needs --tune or --recover, such as 10m")


def teacher_of(folder: Path, task: Task) -> nn.Module:
    """Read a teacher of a language model.

    Raises:
        ModelError: It cannot be used, or has another vocabulary.
    """
    from autocompress.errors import ModelError
    from autocompress.lm import LanguageModeling, load_model

    teacher, vocabulary = load_model(folder)
    assert isinstance(task, LanguageModeling)
    own = task.corpus.vocabulary
    if vocabulary.words != own.words:
        raise ModelError(
            f"a teacher must have the vocabulary of the model, word by word, but '{folder}' has "
            f"{len(vocabulary)} words, and the model {len(own)}, not all of them equal; choose "
            "one that was trained on the same vocabulary"
        )
    return teacher
