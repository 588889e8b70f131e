"""What commands have in common: options, and how results are shown on stdout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.table import Table

    from autocompress.outcome.results import SearchResult

NOTHING_FEASIBLE = 3
_WIDTH_OF_FILES = 140

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
a_folder = click.Path(path_type=Path, file_okay=False)
a_file = click.Path(path_type=Path, dir_okay=False)
a_path = click.Path(path_type=Path)


def print_json(document: Mapping[str, Any]) -> None:
    """Print a JSON document on stdout."""
    click.echo(json.dumps(document, indent=2))


def print_table(table: Table) -> None:
    """Print a table on stdout, as wide as the terminal."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH_OF_FILES)
    console.print(table)


def print_result(result: SearchResult, document: bool) -> None:
    """Print the outcome of a search, as a table and a summary or as JSON."""
    from autocompress.reporting.answer import summary_lines
    from autocompress.reporting.tables import front_table

    if document:
        print_json(result.to_json())
        return
    if result.front:
        print_table(front_table(result))
    for line in summary_lines(result):
        click.secho(line, fg="yellow" if _is_doubtful(result, line) else None)


def _is_doubtful(result: SearchResult, line: str) -> bool:
    """Whether a line tells of a miss, or of a best that nobody should take without a thought."""
    from autocompress.outcome.cautions import cautions

    doubts = (
        ("warning: ", "best plan") if cautions(result) else ("no plan", "no trial", "the nearest")
    )
    return line.startswith(doubts)
