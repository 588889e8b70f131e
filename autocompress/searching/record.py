"""MLflow's record of a search, opened, and made anew from its folder where it is lost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from autocompress.artifact import Artifact, open_artifact
from autocompress.outcome.about import ABOUT, About
from autocompress.outcome.names import SIZE
from autocompress.outcome.results import SearchResult
from autocompress.reporting.costs import weight_costs
from autocompress.searching.folder import SearchFolder
from autocompress.searching.ledger import LEDGER, Ledger
from autocompress.searching.summary import summary
from autocompress.support import progress
from autocompress.support.files import kept_json
from autocompress.tracking import Tracker, Yardstick
from autocompress.tracking.store import is_whole, relocate

_REPORT = ("front.csv", "front.png", "front.html", "report.md", "progress.png")


def open_record(folder: SearchFolder, about: About) -> Tracker:
    """Open MLflow's record of a search whose baseline was measured, or begin it.

    Raises:
        SearchError: If its database cannot be used.
    """
    settings, baseline = folder.settings(), folder.baseline()
    yardstick = None
    if baseline is not None:
        weights = open_artifact(folder.artifact(None)).report()
        yardstick = Yardstick(
            metric=settings.metric,
            directions=settings.directions,
            baseline=baseline,
            n_weights=sum(line.n_weights for line in weights),
            goal=settings.metric if settings.max_rise is None else SIZE,
        )
    params = {**settings.described(), **about.params}
    return Tracker(folder.path, settings.name, params, yardstick, _draw_weights)


def _draw_weights(title: str, artifact: Artifact, rises: Mapping[str, float], path: Path) -> None:
    from autocompress.reporting.weights_picture import save_weights

    save_weights(title, weight_costs(artifact, rises), path)


def write_outcome(
    tracker: Tracker, folder: SearchFolder, result: SearchResult, files: list[Path], about: About
) -> None:
    """Say in MLflow what a search has come to."""
    tracker.log_front(result, files)
    for scored in (*result.recovered, *result.controls):
        tracker.log_recovered(result, scored, folder.training(scored.artifact))
    tracker.conclude(result, about)


def prepare_record(path: Path) -> None:
    """Have the MLflow database of a folder be whole, and its runs find their files.

    A folder may have been moved or copied, and the database deleted or damaged.

    Raises:
        SearchError: If the folder holds no search, or nothing was measured yet.
    """
    folder = SearchFolder(path)
    folder.settings()
    if is_whole(path):
        relocate(path)
        return
    progress.say(f"MLflow's record of '{path}' is made anew from the folder")
    document = kept_json(path / ABOUT, About.from_json)
    about = About() if document is None else About.from_json(document)
    trials = folder.trials()
    given_up = given_up_of(folder)
    seconds = sum(trial.seconds for trial in trials)
    result = summary(folder, seconds, without_file=len(given_up))
    with folder.claimed():
        tracker = open_record(folder, about)
        tracker.reconcile(trials, folder.artifact, given_up)
        files = [path / name for name in _REPORT if (path / name).is_file()]
        write_outcome(tracker, folder, result, files, about)
        tracker.end("FINISHED")


def given_up_of(folder: SearchFolder) -> dict[int, tuple[str, str]]:
    """Return why trials without a result were given up, and what made them."""
    known = Ledger(folder.path / LEDGER).given_up()
    return {number: why for number, why in known.items() if folder.trial(number) is None}
