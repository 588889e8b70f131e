"""`autocompress compress`: one file for a budget, without a search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from autocompress.cli.helping import Command
from autocompress.cli.output import a_device, a_file, as_json, print_json, print_line
from autocompress.cli.own import how_to_load
from autocompress.cli.subject import Asked, asks_for_subject

if TYPE_CHECKING:
    from autocompress.plan import CompressionPlan
    from autocompress.searching.one_shot import OneShot


@click.command(
    cls=Command,
    examples=(
        "autocompress compress MODEL --data DIR --budget 10x --out small.acz",
        "autocompress compress MODEL --data DIR --plan plan.json",
    ),
)
@asks_for_subject
@click.option(
    "--budget",
    metavar="SIZE",
    help="Largest file: 2MB, 2MiB, 10x smaller, or 3bpw (bits a weight).",
)
@click.option("--plan", "plan_file", type=a_file, help="Instead: what `autocompress plan` gave.")
@click.option("--out", type=a_file, help="The file.  [default: MODEL-BUDGET.acz]")
@a_device
@as_json
def compress(
    asked: Asked,
    budget: str | None,
    plan_file: Path | None,
    out: Path | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Compress a model into one file at once, without a search.

    MODEL is a folder, as train and import make it. Every weight gets the bits that it is worth,
    by what its errors cost on training data: what a search begins with. What was learnt of model
    and data is kept, and another budget takes seconds. Says what the file loses on validation
    data.
    """
    from autocompress.outcome.budgets import parse_budget
    from autocompress.searching.one_shot import compress_to_budget

    asked.check()
    if (budget is None) == (plan_file is None):
        raise click.UsageError("give either --budget, such as 2MB, or --plan")
    wanted = parse_budget(budget) if budget is not None else read_plan(plan_file or Path())
    place = asked.device(device)
    subject = asked.subject()
    name = budget.replace(" ", "") if budget else (plan_file or Path()).stem
    file = out or Path(f"{subject.name}-{name}.acz")
    result = compress_to_budget(subject.model, subject.task, wanted, file, device=place)
    if as_json:
        print_json(result.to_json())
        return
    for line in _lines(result):
        print_line(line)
    if asked.factory is not None:
        click.echo(how_to_load(asked.factory, result.artifact))


def read_plan(path: Path) -> CompressionPlan:
    """Read a file of a plan.

    Raises:
        PlanError: If it holds none.
    """
    from autocompress.errors import PlanError
    from autocompress.plan import CompressionPlan
    from autocompress.support.files import parsed_json

    try:
        return CompressionPlan.from_json(parsed_json(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise PlanError(f"'{path}' is no JSON document: {error}") from error
    except PlanError as error:
        raise PlanError(f"'{path}': {error}") from error


def _lines(result: OneShot) -> list[str]:
    from autocompress.outcome.limits import format_bytes

    size, whole = format_bytes(result.size_bytes), format_bytes(result.uncompressed_bytes)
    rise = f"{100 * result.rise:+.2f} %" if result.uncompressed_score else f"{result.rise:+.6g}"
    before = f"{result.uncompressed_score:.6g} uncompressed"
    return [
        f"file: {result.artifact}",
        f"size: {size}, {result.times_smaller:.1f}x smaller than {whole} in single precision",
        f"{result.metric}: {result.score:.6g} on validation data, {rise} against {before}",
        f"took {result.seconds:.0f} s; next: `autocompress inspect {result.artifact}`",
    ]
