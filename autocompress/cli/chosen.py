"""Which file a command is about: a file itself, the best of a search, or one of its trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from autocompress.errors import SearchError


class AnArtifact(click.ParamType):  # type: ignore[type-arg]
    """A file ending in .acz, or a search's folder, or RUN:3 for its trial 3; read as a path."""

    name = "file or run"

    def convert(self, value: Any, param: Any, ctx: Any) -> Path:
        """Find the file; say on stderr which one it is where a search was named."""
        del param, ctx
        return value if isinstance(value, Path) else chosen_artifact(str(value))


an_artifact = AnArtifact()


def chosen_artifact(text: str) -> Path:
    """Return the file that is meant; whether a file of that name exists is not asked.

    Args:
        text: A file; a search's folder, for the best that it has found; or folder:number, for a
            trial.

    Raises:
        SearchError: If the folder holds no search, no plan keeps its limits, or there is no such
            trial.
    """
    path, (folder, colon, number) = Path(text), text.rpartition(":")
    if path.is_dir():
        return _best(path)
    if colon and not path.exists() and Path(folder).is_dir():
        return _trial(Path(folder), number)
    return path


def _best(folder: Path) -> Path:
    from autocompress.outcome.limits import format_bytes
    from autocompress.searching.several.joined import folder_at
    from autocompress.searching.summary import summary

    result = summary(folder_at(folder), 0.0)
    if result.best is None:
        nearest = "" if result.nearest is None else f"{folder}:{result.nearest.trial}"
        remedy = f"name a trial, such as {nearest}" if nearest else "let it run on"
        raise SearchError(f"no plan of the search in '{folder}' keeps its limits so far; {remedy}")
    size = format_bytes(result.best.size_bytes)
    click.echo(f"{folder}: {result.title(result.best)}, {size}", err=True)
    return result.best.artifact


def _trial(folder: Path, number: str) -> Path:
    from autocompress.searching.several.joined import folder_at

    search = folder_at(folder)
    search.settings()  # refuses what is no search
    path = search.artifact(int(number)) if number.isdecimal() else None
    if path is not None and path.exists():
        return path
    known = [trial.number for trial in search.trials() if search.artifact(trial.number).exists()]
    there = f"there are {', '.join(map(str, known))}" if known else "there is none yet"
    raise SearchError(
        f"'{folder}' has no file of a trial '{number}'; {there}, and without a number the best"
    )
