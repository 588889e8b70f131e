"""`autocompress plan`: how a file stores each weight, as what `compress --plan` takes."""

from __future__ import annotations

import click

from autocompress.cli.output import print_json


@click.command()
@click.argument("run", metavar="RUN[:TRIAL]")
def plan(run: str) -> None:
    """Print the plan of RUN, a search's folder, as JSON: its best, or RUN:3, or a file.

    `autocompress compress MODEL --data DIR --plan FILE` carries it out again, perhaps for another
    model of the same shape. What was fine-tuned is not part of a plan.
    """
    from autocompress.artifact import open_artifact
    from autocompress.cli.reference import artifact_of

    print_json(open_artifact(artifact_of(run)).plan.to_json())
