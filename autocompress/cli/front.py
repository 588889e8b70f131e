"""`autocompress front`: the front of a finished or running search."""

from __future__ import annotations

from pathlib import Path

import click

from autocompress.cli.output import a_folder, as_json, print_result


@click.command()
@click.argument("folder", type=a_folder)
@as_json
def front(folder: Path, as_json: bool) -> None:
    """Show the front of the search in FOLDER, whether it is finished, running or interrupted."""
    from autocompress.searching.several.joined import folder_at
    from autocompress.searching.summary import summary

    search = folder_at(folder)
    print_result(summary(search, sum(trial.seconds for trial in search.trials())), as_json)
