"""`autocompress inspect`: what an artifact holds, byte by byte."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autocompress.cli.chosen import an_artifact
from autocompress.cli.helping import Command
from autocompress.cli.output import as_json, print_json, print_table, width_of_stdout

if TYPE_CHECKING:
    from autocompress.artifact import Artifact
    from autocompress.reporting.columns import Columns

_BARS = 30


@click.command(
    cls=Command, examples=("autocompress inspect RUN:3", "autocompress inspect FILE.acz --json")
)
@click.argument("artifact", type=an_artifact)
@as_json
def inspect(artifact: Path, as_json: bool) -> None:
    """Show how a file stores each weight, and what every part of it costs.

    ARTIFACT is a file ending in .acz, a search's folder (its best), or RUN:3 (its trial 3).
    """
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
    width = width_of_stdout()
    blocks = width is not None and (sys.stdout.encoding or "").lower().startswith("utf")
    return ["", *cost_lines(costs, "█" if blocks else "#", width)]


def _table(artifact: Artifact) -> Columns:
    from autocompress.reporting.columns import Columns

    titles = ("weight", "shape", "bytes", "bits/weight", "structure", "precision", "coder")
    table = Columns(titles, prose=titles[4:], left=titles[1:2], title=str(artifact.path))
    lines = artifact.report()
    for number, line in enumerate(lines):
        name = " = ".join((line.name, *line.aliases)) + (f" ({line.site})" if line.site else "")
        shape = " x ".join(map(str, line.shape))
        numbers = (f"{line.size_bytes:,.0f}", f"{line.bits_per_weight:.2f}")
        cells = (name, shape, *numbers, line.structure, line.precision, line.coder)
        table.add(*cells, ends_section=number + 1 == len(lines))
    for part, size in artifact.accounting().items():
        if size:
            table.add(f"all {part}" if part == "weights" else part, "", f"{size:,}")
    table.add("file", "", f"{artifact.size_bytes:,}", style="bold")
    return table
