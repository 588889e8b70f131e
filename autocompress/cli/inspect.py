"""`autocompress inspect`: what an artifact holds, byte by byte."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autocompress.cli.output import a_file, as_json, print_json, print_table

if TYPE_CHECKING:
    from rich.table import Table

    from autocompress.artifact import Artifact

_BARS = 30


@click.command()
@click.argument("artifact", type=a_file)
@as_json
def inspect(artifact: Path, as_json: bool) -> None:
    """Show how ARTIFACT stores each weight, and what every part of the file costs."""
    from autocompress.artifact import open_artifact

    opened = open_artifact(artifact)
    if not as_json:
        print_table(_table(opened))
        for line in _chart(opened):
            click.echo(line)
        return
    print_json(
        {
            "path": str(artifact),
            "size_bytes": opened.size_bytes,
            "source_sha256": opened.source_sha256,
            "model": opened.model_config,
            "weights": [vars(line) for line in opened.report()],
            "parts": opened.accounting(),
        }
    )


def _chart(artifact: Artifact) -> list[str]:
    """Draw where the bytes go; of a search's trial also what each weight should cost."""
    from autocompress.reporting.costs import cost_lines, most, weight_costs
    from autocompress.searching.summary import rises_beside

    costs = most(weight_costs(artifact, rises_beside(artifact.path)), _BARS)
    blocks = (sys.stdout.encoding or "").lower().startswith("utf")
    return ["", *cost_lines(costs, "█" if blocks else "#")]


def _table(artifact: Artifact) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(str(artifact.path)), title_justify="left")
    for column in ("weight", "shape", "structure", "precision", "coder"):
        table.add_column(column)
    for column in ("bytes", "bits/weight"):
        table.add_column(column, justify="right")
    for line in artifact.report():
        name = " = ".join((line.name, *line.aliases)) + (f" ({line.site})" if line.site else "")
        shape = " x ".join(map(str, line.shape))
        numbers = (f"{line.size_bytes:,.0f}", f"{line.bits_per_weight:.2f}")
        table.add_row(Text(name), shape, line.structure, line.precision, line.coder, *numbers)
    table.add_section()
    for part, size in artifact.accounting().items():
        if size:
            table.add_row(f"all {part}" if part == "weights" else part, *[""] * 4, f"{size:,}", "")
    table.add_section()
    table.add_row("file", *[""] * 4, f"{artifact.size_bytes:,}", "")
    return table
