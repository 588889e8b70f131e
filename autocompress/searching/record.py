"""MLflow's record of a search, made anew from its folder where it is lost."""

from __future__ import annotations

from pathlib import Path

from autocompress.searching.folder import SearchFolder
from autocompress.searching.summary import summary
from autocompress.support import progress
from autocompress.tracking import Tracker
from autocompress.tracking.store import is_whole, relocate

_REPORT = ("front.csv", "front.png", "front.html", "report.md", "hypervolume.png")


def prepare_record(path: Path) -> None:
    """Have the MLflow database of a folder be whole, and its runs find their files.

    A folder may have been moved or copied, and the database deleted or damaged.

    Raises:
        SearchError: If the folder holds no search, or nothing was measured yet.
    """
    folder = SearchFolder(path)
    settings = folder.settings()
    if is_whole(path):
        relocate(path)
        return
    progress.say(f"MLflow's record of '{path}' is made anew from the folder")
    trials = folder.trials()
    result = summary(folder, sum(trial.seconds for trial in trials))
    with folder.claimed():
        tracker = Tracker(path, settings.name, settings.described())
        tracker.reconcile(trials, folder.artifact)
        files = [path / name for name in _REPORT if (path / name).is_file()]
        tracker.log_front(result, files)
        for scored in (*result.recovered, *result.controls):
            tracker.log_recovered(result, scored)
        tracker.end("FINISHED")
