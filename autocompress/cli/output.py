"""What commands have in common: options, and how results are shown on stdout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from autocompress.outcome.results import SearchResult
    from autocompress.reporting.columns import Columns

NOTHING_FEASIBLE = 3
_LEAST_WIDTH = 20

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def _address(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Refuse what is no address, as wrong usage."""
    if value is None:
        return None
    from autocompress.errors import SearchError
    from autocompress.tracking.homes import chosen_uri

    try:
        return chosen_uri(value)
    except SearchError as error:
        raise click.BadParameter(str(error), ctx, param) from error


a_tracking_uri = click.option(
    "--tracking-uri",
    metavar="URI",
    callback=_address,
    help="MLflow server for the trials.  [default: $MLFLOW_TRACKING_URI, or in the folder]",
)
a_device = click.option(
    "--device",
    metavar="DEVICE",
    help="Where models run: auto, cpu, cuda, cuda:1 or mps.  [default: auto]",
)
a_folder = click.Path(path_type=Path, file_okay=False)
a_file = click.Path(path_type=Path, dir_okay=False)
a_path = click.Path(path_type=Path)
a_seed = click.IntRange(0, 2**32 - 1)


def print_json(document: Mapping[str, Any]) -> None:
    """Print a JSON document on stdout."""
    click.echo(json.dumps(document, indent=2))


def width_of_stdout() -> int | None:
    """Return how many characters a line of the terminal has; None where stdout is none."""
    from rich.console import Console

    console = Console()
    return max(console.width, _LEAST_WIDTH) if console.is_terminal else None


def print_table(table: Columns) -> None:
    """Print a table on stdout: as wide as the terminal, or in a pipe as plain columns."""
    from rich.console import Console

    console, width = Console(highlight=False, soft_wrap=True), width_of_stdout()
    for line in table.lines(width):
        if width is None:
            click.echo(line.plain)
        else:
            console.print(line)


def print_line(line: str, color: str | None = None) -> None:
    """Print a line on stdout, broken between words where the terminal ends, if there is one."""
    from autocompress.support import progress

    width = width_of_stdout()
    if width is not None:
        line = progress.between_words(line, width)
    click.secho(line, fg=color)


def print_result(result: SearchResult, document: bool) -> None:
    """Print the outcome of a search, as a table and a summary or as JSON."""
    from autocompress.reporting.answer import summary_parts
    from autocompress.reporting.tables import front_table

    if document:
        print_json(result.to_json())
        return
    if result.front:
        print_table(front_table(result))
    for part in summary_parts(result):
        if isinstance(part, str):
            print_line(part, "yellow" if _is_doubtful(result, part) else None)
        else:
            print_table(part)


def _is_doubtful(result: SearchResult, line: str) -> bool:
    """Whether a line tells of a miss, or of a best that nobody should take without a thought."""
    from autocompress.outcome.cautions import cautions

    doubts = (
        ("warning: ", "best plan") if cautions(result) else ("no plan", "no trial", "the nearest")
    )
    return line.startswith(doubts)
