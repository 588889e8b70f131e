"""Which file a command is about: a file itself, the best of a search, or one of its trials."""

from __future__ import annotations

from pathlib import Path

from autocompress.errors import SearchError


def artifact_of(text: str) -> Path:
    """Return the file that is meant; whether a file of that name exists is not asked.

    Args:
        text: A file; a search's folder, for the best that it has found; or folder:number, for a
            trial.

    Raises:
        SearchError: If the folder holds no search, no plan keeps its limits, or there is no such
            trial.
    """
    from autocompress.searching.folder import SearchFolder
    from autocompress.searching.summary import summary

    path, (folder, colon, number) = Path(text), text.rpartition(":")
    if path.is_dir():
        best = summary(SearchFolder(path), 0.0).best
        if best is None:
            raise SearchError(
                f"no plan of the search in '{path}' keeps its limits; name a trial, as {path}:0"
            )
        return best.artifact
    if not colon or path.exists() or not Path(folder).is_dir():
        return path
    search = SearchFolder(Path(folder))
    search.settings()  # refuses what is no search
    found = search.artifact(int(number)) if number.isdecimal() else None
    if found is None or not found.exists():
        raise SearchError(
            f"'{folder}' has no file of a trial '{number}'; `autocompress front` names trials"
        )
    return found
