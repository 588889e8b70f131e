"""`autocompress plan`: how a file stores each weight, as what `compress --plan` takes."""

from __future__ import annotations

from pathlib import Path

import click

from autocompress.cli.chosen import an_artifact
from autocompress.cli.helping import Command
from autocompress.cli.output import print_json


@click.command(cls=Command, examples=("autocompress plan RUN:3 > plan.json",))
@click.argument("artifact", type=an_artifact)
def plan(artifact: Path) -> None:
    """Print how a file stores each weight, as a plan in JSON.

    ARTIFACT is a file ending in .acz, a search's folder (its best), or RUN:3 (its trial 3).
    `autocompress compress MODEL --data DIR --plan FILE` carries it out again, perhaps for another
    model of the same shape. What was fine-tuned is not part of a plan.
    """
    from autocompress.artifact import open_artifact

    print_json(open_artifact(artifact).plan.to_json())
