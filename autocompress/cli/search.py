"""`autocompress search`: from a model and a budget to the front."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autocompress.cli.output import (
    NOTHING_FEASIBLE,
    a_folder,
    a_path,
    as_json,
    print_result,
)
from autocompress.cli.own import how_to_load
from autocompress.cli.subject import check_source, subject_of

if TYPE_CHECKING:
    from autocompress.outcome.results import SearchResult
    from autocompress.recovery import RecoverySettings
    from autocompress.searching.settings import SamplerName


a_count = click.IntRange(min=1)
a_sampler = click.Choice(["tpe", "nsga2", "random"])


@click.command()
@click.argument("model", type=a_folder, required=False)
@click.option("--data", type=a_path, help="Corpus: a folder, or a text file.")
@click.option("--model", "factory", help="Instead of MODEL, package.module:factory of your own.")
@click.option("--weights", type=a_path, help="Of --model: a checkpoint that fills it.")
@click.option("--task", help="Of --model: what is good, as package.module:factory.")
@click.option("--budget", help="Largest file allowed, such as 2MB, 800kB or 2MiB.")
@click.option("--max-rise", help="Find the smallest file that loses at most: 1%, or +0.02.")
@click.option("--latency-budget", help="Time for a word in ONNX Runtime: 0.25x or 0.1ms.")
@click.option("--trials", type=a_count, help="Trials in all.  [default: 40, or what time allows]")
@click.option("--timeout", help="No trial begins after this time, as 30m.")
@click.option("--jobs", type=a_count, default=1, show_default=True, help="Trials at a time.")
@click.option("--out", type=a_folder, help="Folder of the search.  [default: runs/MODEL-LIMITS]")
@click.option("--space", help="Name or file.  [default: size; with a latency budget, balanced]")
@click.option("--sampler", type=a_sampler, default="tpe", show_default=True)
@click.option("--recover", help="Fine-tune the best plan, for a time as 10m or for 2000steps.")
@click.option("--dropout", type=float, help="Of --recover.  [default: 0.15]")
@click.option("--distillation", type=float, help="Share of the loss of --recover.  [default: 0]")
@click.option("--seed", type=int, default=0, show_default=True)
@as_json
def search(
    model: Path | None,
    data: Path | None,
    factory: str | None,
    weights: Path | None,
    task: str | None,
    budget: str | None,
    max_rise: str | None,
    latency_budget: str | None,
    trials: int | None,
    timeout: str | None,
    jobs: int,
    out: Path | None,
    space: str | None,
    sampler: SamplerName,
    recover: str | None,
    dropout: float | None,
    distillation: float | None,
    seed: int,
    as_json: bool,
) -> None:
    """Search for the best ways to store the weights of MODEL, a folder, or of --model.

    Plans are chosen on validation data; the front is scored on test data at the end. The same
    command again continues a search that was interrupted. Limits combine; exits with 3 if no
    plan keeps them. With a latency budget, all scores are those of exported ONNX models; if with
    --max-rise and --timeout none of the first trials is good enough, the nearest is fine-tuned.

    A model of your own is made by --model, filled with --weights and judged by --task: functions
    without arguments (or classes) that return an nn.Module and an autocompress.Task. They are
    imported as by python -m, from the current directory too.
    """
    from autocompress.outcome.limits import Budget, parse_latency, parse_rise, parse_seconds
    from autocompress.searching.search import search as run
    from autocompress.searching.space.language import load_space

    check_source(model, data, factory, weights, task)
    limit = Budget.parse(budget) if budget else None
    rise = None if max_rise is None else parse_rise(max_rise)
    if timeout is not None:
        parse_seconds(timeout)  # refused before the model is read
    latency = None if latency_budget is None else parse_latency(latency_budget)
    chosen = None if space is None else load_space(space)
    fine_tuning = _fine_tuning(recover, dropout, distillation, seed)
    subject = subject_of(model, data, factory, weights, task)
    limits = [text.replace(" ", "") for text in (budget, max_rise, latency_budget) if text]
    folder = out or Path("runs") / "-".join([subject.name, *limits])
    result = run(
        subject.model,
        subject.task,
        budget=limit,
        max_rise=rise,
        latency_budget=latency,
        space=chosen,
        trials=trials,
        timeout=timeout,
        jobs=jobs,
        out=folder,
        seed=seed,
        sampler=sampler,
        name=subject.name,
        recovery=fine_tuning,
    )
    conclude(result, folder, as_json, factory)


def _fine_tuning(
    recover: str | None, dropout: float | None, distillation: float | None, seed: int
) -> RecoverySettings | None:
    from autocompress.recovery import RecoveryBudget, RecoverySettings

    if recover is None:
        if dropout is not None or distillation is not None:
            raise click.UsageError("--dropout and --distillation need --recover, such as 10m")
        return None
    settings = RecoverySettings(RecoveryBudget.parse(recover), seed=seed)
    if dropout is not None:
        settings = replace(settings, dropout=dropout)
    return settings if distillation is None else replace(settings, distillation=distillation)


def conclude(
    result: SearchResult, folder: Path, document: bool, factory: str | None = None
) -> None:
    """Print a search's outcome and where to look further; exit with 3 if no plan is feasible.

    Args:
        result: The outcome.
        folder: Of the search.
        document: Whether to print it as JSON.
        factory: What made the model, if it was a user's own, as package.module:factory.
    """
    print_result(result, document)
    if not document and result.best is not None:
        click.echo(f"picture: {folder / 'front.png'}")
        if factory is not None:
            click.echo(how_to_load(factory, result.best.artifact))
    if result.best is None:
        click.get_current_context().exit(NOTHING_FEASIBLE)
