"""`autocompress search`: from a model and a budget to the front."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autocompress.cli.fine_tuning import (
    check_fine_tuning,
    check_teacher,
    label_free,
    on_labels,
    teacher_of,
)
from autocompress.cli.helping import Command
from autocompress.cli.output import (
    NOTHING_FEASIBLE,
    a_device,
    a_folder,
    a_path,
    a_seed,
    a_tracking_uri,
    as_json,
    print_line,
    print_result,
    width_of_stdout,
)
from autocompress.cli.own import how_to_load
from autocompress.cli.subject import Asked, several

if TYPE_CHECKING:
    from autocompress.outcome.results import SearchResult
    from autocompress.searching.settings import SamplerName


a_count = click.IntRange(min=1)
a_sampler = click.Choice(["tpe", "nsga2", "random"])


@click.command(
    cls=Command,
    sections={
        "Data": ("data",),
        "Limits": ("budget", "max_rise", "latency_budget"),
        "Effort": ("trials", "timeout", "jobs", "cluster", "device", "space", "sampler", "seed"),
        "Fine-tuning": (
            *("tune", "recover", "recover_members", "teacher", "dropout", "distillation"),
        ),
        "Output": ("out", "tracking_uri", "as_json"),
        "A model of your own": ("factory", "weights", "task"),
    },
    examples=(
        "autocompress search MODEL --data DIR --budget 10x --out RUN",
        "autocompress search MODEL --data DIR --max-rise 1% --timeout 15m",
        "autocompress search SMALL LARGE --data DIR --budget 2MB",
    ),
)
@click.argument("models", metavar="[MODEL]...", type=a_folder, nargs=-1)
@click.option("--data", type=a_path, help="Corpus of MODEL: a folder, or a text file.")
@click.option(
    "--budget",
    metavar="SIZE",
    help="Largest file: 2MB, 2MiB, 10x smaller, or 3bpw (bits a weight).",
)
@click.option(
    "--max-rise",
    metavar="LOSS",
    help="Find the smallest file that loses at most: 1%, 0.5ppl, +0.02.",
)
@click.option(
    "--latency-budget", metavar="TIME", help="Time for a word in ONNX Runtime: 0.25x or 0.1ms."
)
@click.option(
    "--trials",
    type=a_count,
    metavar="N",
    help="Trials in all.  [default: 40, or what time allows]",
)
@click.option("--timeout", metavar="TIME", help="No trial begins after this time, as 30m.")
@click.option("--jobs", type=a_count, metavar="N", default=1, show_default=True, help="At a time.")
@click.option(
    "--cluster",
    metavar="ADDRESS",
    help="Dask workers instead: tcp://host:8786, scheduler.json, or local:4.",
)
@click.option(
    "--space",
    metavar="SPACE",
    help="Name or file.  [default: size; with a latency budget, balanced]",
)
@click.option(
    "--sampler", type=a_sampler, default="tpe", show_default=True, help="Proposes the plans."
)
@click.option(
    "--seed", type=a_seed, metavar="N", default=0, show_default=True, help="Of the sampler."
)
@click.option(
    "--tune",
    metavar="TIME",
    help="Tune the best plan without labels, for a time as 2m or for 400steps.",
)
@click.option(
    "--recover",
    metavar="TIME",
    help="Fine-tune the best plan on labels, for a time as 10m or for 2000steps.",
)
@click.option(
    "--recover-members",
    type=a_count,
    metavar="N",
    default=1,
    show_default=True,
    help="Plans of the front to --tune or --recover, side by side.",
)
@click.option(
    "--teacher",
    type=a_folder,
    help="Larger model of the same vocabulary that teaches instead of MODEL.",
)
@click.option(
    "--dropout", type=float, metavar="P", help="Of --tune and --recover.  [default: 0.15]"
)
@click.option(
    "--distillation",
    type=float,
    metavar="P",
    help="Share of the loss of --recover.  [default: 0; with --teacher, 0.5]",
)
@click.option("--out", type=a_folder, help="Folder of the search.  [default: runs/MODEL-LIMITS]")
@a_tracking_uri
@a_device
@as_json
@click.option(
    "--model",
    "factory",
    metavar="SPEC",
    help="Instead of MODEL, package.module:factory of your own.",
)
@click.option("--weights", type=a_path, help="Of --model: a checkpoint that fills it.")
@click.option(
    "--task", metavar="SPEC", help="Of --model: what is good, as package.module:factory."
)
def search(
    models: tuple[Path, ...],
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
    cluster: str | None,
    out: Path | None,
    space: str | None,
    sampler: SamplerName,
    tune: str | None,
    recover: str | None,
    recover_members: int,
    teacher: Path | None,
    dropout: float | None,
    distillation: float | None,
    seed: int,
    tracking_uri: str | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Search for the best ways to store the weights of a model.

    MODEL is a folder, as train and import make it; of several with the same words each is
    compressed, and one front over all is found. Without any limit the whole front is shown,
    from the smallest files to those that lose nothing; limits combine, and if no plan keeps them,
    the exit code is 3. Plans are chosen on validation data, and scored on test data at the end.
    The same command again continues a search that was interrupted. With a latency budget, all
    scores are those of exported ONNX models; if with --max-rise and --timeout none of the first
    trials is good enough, the nearest is fine-tuned. What is tuned without labels, towards the
    model's own predictions, and what is fine-tuned on labels is told apart from trials.

    A model of your own is made by --model, filled with --weights and judged by --task: functions
    without arguments (or classes) that return an nn.Module and an autocompress.Task. They are
    imported as by python -m, from the current directory too. Without --device, it runs where its
    factory puts it.
    """
    from autocompress.outcome.budgets import parse_budget
    from autocompress.outcome.limits import parse_latency, parse_rise, parse_seconds
    from autocompress.searching.search import search as run
    from autocompress.searching.space.language import load_space

    asked = Asked(next(iter(models), None), data, factory, weights, task)
    asked.check()
    size = None if budget is None else parse_budget(budget)
    latency = None if latency_budget is None else parse_latency(latency_budget)
    if max_rise is not None:
        parse_rise(max_rise)  # refused before the model is read, as is the time
    if timeout is not None:
        parse_seconds(timeout)
    chosen = None if space is None else load_space(space)
    check_fine_tuning(tune, recover, dropout, distillation)
    tuning = label_free(tune, dropout, seed)
    recovery = on_labels(recover, dropout, distillation, seed, taught=teacher is not None)
    check_teacher(teacher, factory, is_used=bool(tuning or recovery))
    place = asked.device(device)
    subject = asked.subject() if len(models) < 2 else several(models, data or Path())
    teaching = None if teacher is None else teacher_of(teacher, subject.task)
    limits = [text.replace(" ", "") for text in (budget, max_rise, latency_budget) if text]
    folder = out or Path("runs") / "-".join([subject.name, *limits])
    result = run(
        subject.model,
        subject.task,
        budget=size,
        max_rise=max_rise,
        latency_budget=latency,
        space=chosen,
        trials=trials,
        timeout=timeout,
        jobs=jobs,
        cluster=cluster,
        out=folder,
        seed=seed,
        sampler=sampler,
        name=subject.name if len(models) < 2 else None,
        recovery=recovery,
        tuning=tuning,
        teacher=teaching,
        tracking_uri=tracking_uri,
        device=place,
        recovery_members=recover_members,
    )
    conclude(result, folder, as_json, data=data, factory=factory)


def conclude(
    result: SearchResult,
    folder: Path,
    document: bool,
    *,
    data: Path | None = None,
    factory: str | None = None,
) -> None:
    """Print a search's outcome and where to look further; exit with 3 if no plan is feasible.

    Args:
        result: The outcome.
        folder: Of the search.
        document: Whether to print it as JSON.
        data: The corpus, of a language model.
        factory: What made the model, if it was a user's own, as package.module:factory.
    """
    print_result(result, document)
    if not document and result.best is not None:
        print_line(f"picture: {folder / 'front.png'}")
        if factory is not None:
            click.echo(how_to_load(factory, result.best.artifact))
    if not document and result.trials:
        for line in _next_steps(folder, data, has_best=result.best is not None):
            click.echo(line)
    if result.best is None:
        click.get_current_context().exit(NOTHING_FEASIBLE)


def _next_steps(folder: Path, data: Path | None, *, has_best: bool) -> Iterator[str]:
    """Yield commands that one may want now, and what they do where a line has room for that."""
    run = shlex.quote(str(folder))
    steps = {f"ui {run}": "every trial, in the browser"}
    if has_best:
        steps[f"inspect {run}"] = "where the bytes of the best go"
    if has_best and data is not None:
        steps[f'predict {run} "some words"'] = "the best at work"
        steps[f"compare {run} --data {shlex.quote(str(data))}"] = "beside the original"
    names, room = max(map(len, steps)), width_of_stdout()
    for number, (command, what) in enumerate(steps.items()):
        line = f"{'' if number else 'next:':6}autocompress {command:{names}}  {what}"
        fits = room is None or len(line) <= room
        yield line if fits else line.removesuffix(what).rstrip()
