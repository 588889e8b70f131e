"""What a search is about: a model folder with a corpus, or a model and a task of a user's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from torch import nn

    from autocompress.knowledge.task import Task


@dataclass(frozen=True)
class Subject:
    """What is searched.

    Attributes:
        name: What to call it.
        model: The model.
        task: What is good.
    """

    name: str
    model: nn.Module
    task: Task


def check_source(
    folder: Path | None,
    data: Path | None,
    factory: str | None,
    weights: Path | None,
    task: str | None,
) -> None:
    """Refuse what is neither a folder with a corpus, nor a model with a task.

    Raises:
        click.UsageError: Something is missing, or both are mixed.
    """
    if factory is None:
        of_own = {"--weights": weights, "--task": task}
        given = [option for option, value in of_own.items() if value is not None]
        if given:
            raise click.UsageError(f"{given[0]} needs --model, such as package.module:factory")
        if folder is None:
            raise click.UsageError("give MODEL, a folder, with --data; or --model with --task")
        if data is None:
            raise click.UsageError("MODEL needs a corpus: give --data")
        return
    if folder is not None:
        raise click.UsageError(f"give MODEL ({folder}) or --model ({factory}), not both")
    if data is not None:
        raise click.UsageError(
            "--data belongs to MODEL; the data of --model are those of its task"
        )
    if task is None:
        raise click.UsageError("--model needs --task, which says what is good")


def subject_of(
    folder: Path | None,
    data: Path | None,
    factory: str | None,
    weights: Path | None,
    task: str | None,
) -> Subject:
    """Read or make what `check_source` has let pass.

    Raises:
        ModelError, CorpusError: A file cannot be used.
        click.ClickException: Nothing can be made of --model or --task.
    """
    if factory is not None and task is not None:
        from autocompress.cli.own import own_model, own_task

        own, good = own_model(factory, weights), own_task(task)
        good.model_factory = good.model_factory or factory
        return Subject(type(own).__name__, own, good)
    from autocompress.lm import LanguageModeling, load_model, read_corpus

    assert folder is not None and data is not None  # noqa: PT018 - not a test
    model, vocabulary = load_model(folder)
    corpus = read_corpus(data, vocabulary)
    return Subject(folder.resolve().name, model, LanguageModeling(corpus))
