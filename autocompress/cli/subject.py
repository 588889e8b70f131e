"""What a search is about: a model folder with a corpus, or a model and a task of a user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autocompress.cli.output import a_folder, a_path

if TYPE_CHECKING:
    import torch
    from torch import nn

    from autocompress.knowledge.task import Task
    from autocompress.searching.several.models import Candidate


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


@dataclass(frozen=True)
class Asked:
    """What a command is asked to work on.

    Attributes:
        folder: MODEL.
        data: Its corpus.
        factory: Instead of a folder, package.module:factory of a user's own model.
        weights: A checkpoint that fills that model.
        task: What is good, as package.module:factory.
    """

    folder: Path | None
    data: Path | None
    factory: str | None
    weights: Path | None
    task: str | None

    def check(self) -> None:
        """Refuse what is neither a folder with a corpus, nor a model with a task.

        Raises:
            click.UsageError: Something is missing, or both are mixed.
        """
        if self.factory is None:
            of_own = {"--weights": self.weights, "--task": self.task}
            given = [option for option, value in of_own.items() if value is not None]
            if given:
                raise click.UsageError(f"{given[0]} needs --model, such as package.module:factory")
            if self.folder is None:
                raise click.UsageError("give MODEL, a folder, with --data; or --model with --task")
            if self.data is None:
                raise click.UsageError("MODEL needs a corpus: give --data")
            return
        if self.folder is not None:
            raise click.UsageError(
                f"give MODEL ({self.folder}) or --model ({self.factory}), not both"
            )
        if self.data is not None:
            raise click.UsageError(
                "--data belongs to MODEL; the data of --model are those of its task"
            )
        if self.task is None:
            raise click.UsageError("--model needs --task, which says what is good")

    def device(self, given: str | None) -> torch.device | None:
        """Return where models run: as asked, or "auto"; a user's own where its factory says.

        Raises:
            DeviceError: There is no such device.
        """
        from autocompress.support.device import chosen_device

        wanted = given or ("auto" if self.factory is None else None)
        return None if wanted is None else chosen_device(wanted)

    def subject(self) -> Subject:
        """Read or make what `check` has let pass.

        Raises:
            ModelError, CorpusError: A file cannot be used.
            click.ClickException: Nothing can be made of --model or --task.
        """
        if self.factory is not None and self.task is not None:
            from autocompress.cli.own import own_model, own_task

            own, good = own_model(self.factory, self.weights), own_task(self.task)
            good.model_factory = good.model_factory or self.factory
            return Subject(type(own).__name__, own, good)
        from autocompress.lm import LanguageModeling, load_model, read_corpus

        assert self.folder is not None and self.data is not None  # noqa: PT018 - not a test
        model, vocabulary = load_model(self.folder)
        corpus = read_corpus(self.data, vocabulary)
        return Subject(self.folder.resolve().name, model, LanguageModeling(corpus))


@dataclass(frozen=True)
class Several:
    """What is searched where it is several models.

    Attributes:
        name: What to call them.
        model: The models, each read when it is needed.
        task: What is good.
    """

    name: str
    model: list[Candidate]
    task: Task


def several(folders: Sequence[Path], data: Path) -> Several:
    """Return several models, and the task of all of them.

    Raises:
        ModelError, CorpusError: A file cannot be used.
        click.UsageError: The models know other words.
    """
    from autocompress.lm import LanguageModeling, load_model, load_vocabulary, read_corpus
    from autocompress.searching.several.models import Candidate, unique_names

    first, *others = folders
    words = load_vocabulary(first)
    for other in others:
        if load_vocabulary(other) != words:
            raise click.UsageError(
                "models that are searched together must know the same words in the same order, "
                f"but those of '{first}' and '{other}' differ; search each by itself"
            )
    names = unique_names(folder.resolve().name for folder in folders)
    candidates = [
        Candidate(name, lambda folder=folder: load_model(folder)[0])  # type: ignore[misc]
        for name, folder in zip(names, folders, strict=True)
    ]
    task = LanguageModeling(read_corpus(data, words))
    return Several("+".join(names), candidates, task)


def asks_for_subject(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the argument MODEL and the options beside it, as one parameter `asked`."""

    @click.argument("folder", metavar="[MODEL]", type=a_folder, required=False)
    @click.option("--data", type=a_path, help="Corpus: a folder, or a text file.")
    @click.option("--model", "factory", help="Instead: package.module:factory of your own.")
    @click.option("--weights", type=a_path, help="Of --model: a checkpoint that fills it.")
    @click.option("--task", help="Of --model: what is good, as package.module:factory.")
    @wraps(command)
    def wrapped(
        folder: Path | None,
        data: Path | None,
        factory: str | None,
        weights: Path | None,
        task: str | None,
        **others: Any,
    ) -> None:
        command(asked=Asked(folder, data, factory, weights, task), **others)

    return wrapped
