"""MLflow's record of a search, opened, and made anew from its folder where it is lost."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from autocompress.artifact import Artifact, open_artifact
from autocompress.outcome.about import ABOUT, About
from autocompress.outcome.names import SIZE
from autocompress.outcome.results import SearchResult, WithoutFile
from autocompress.reporting.costs import weight_costs
from autocompress.searching.claim import ClaimedError
from autocompress.searching.folder import TRACKING, SearchFolder
from autocompress.searching.several.joined import folder_at
from autocompress.searching.summary import summary
from autocompress.support import progress
from autocompress.support.files import kept_json, write_json
from autocompress.tracking import Kept, Outcome, PatientTracker, Tracker, Yardstick
from autocompress.tracking.homes import UsersServer, is_web, shown
from autocompress.tracking.store import is_whole, relocate

_REPORT = ("front.csv", "front.png", "front.html", "report.md", "progress.png")


def open_record(
    folder: SearchFolder, about: About, uri: str | None = None
) -> Tracker | PatientTracker:
    """Open MLflow's record of a search whose baseline was measured, or begin it.

    Args:
        folder: The search.
        about: Tells how it was started.
        uri: Of the user's server; it may be away. None is a database in the folder.

    Raises:
        SearchError: If that database cannot be used.
    """
    server = _server(folder, uri)
    if server is None:
        return _tracker(folder, about, folder.path)

    def kept() -> Kept:
        return Kept(folder.trials(), folder.artifact, given_up_of(folder))

    return PatientTracker(lambda: _tracker(folder, about, server), kept, shown(server.uri))


def check_server(folder: SearchFolder, uri: str | None) -> None:
    """Refuse to begin a search whose server does not answer; one that was begun goes on.

    Raises:
        SearchError: If it does not answer, or not as a tracking server does.
    """
    if uri is not None and folder.baseline() is None:
        home = UsersServer(uri, "")
        with home.errors(f"reach '{shown(uri)}'"):
            home.open()


def _server(folder: SearchFolder, uri: str | None) -> UsersServer | None:
    """Return the user's server, and keep where the record is."""
    path = folder.path / TRACKING[0]
    if uri is None:
        if path.exists():
            _keep_address(folder, None)
        return None
    return UsersServer(uri, _keep_address(folder, uri))


def _keep_address(folder: SearchFolder, uri: str | None) -> str:
    """Keep where the record is, without any password; return what tells the search from others."""
    known = [kept_json(folder.path / name, _check) for name in TRACKING]
    key = next((one["key"] for one in known if one is not None), None) or uuid4().hex
    document = {"key": key, "uri": None if uri is None else shown(uri)}
    for name, before in zip(TRACKING, known, strict=True):
        if before != document:
            write_json(folder.path / name, document)
    return key


def _check(document: Any) -> None:
    """Raise for what is not a kept address."""
    if not isinstance(document["key"], str) or not isinstance(document["uri"], str | None):
        raise TypeError("it is no address")


def _tracker(folder: SearchFolder, about: About, home: Path | UsersServer) -> Tracker:
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
            models=tuple((one.name, one.n_weights) for one in folder.contenders()),
        )
    params = {**settings.described(), **about.params}
    return Tracker(home, settings.name, params, yardstick, _draw_weights)


def _draw_weights(title: str, artifact: Artifact, rises: Mapping[str, float], path: Path) -> None:
    from autocompress.reporting.weights_picture import save_weights

    save_weights(title, weight_costs(artifact, rises), path)


def outcome_of(
    folder: SearchFolder, result: SearchResult, files: list[Path], about: About
) -> Outcome:
    """Return what MLflow is to say of what a search has come to."""
    trained = [one for one in result.controls if one.artifact != result.baseline.artifact]
    tuned = [(one, folder.training(one.artifact)) for one in (*result.fine_tuned, *trained)]
    return Outcome(result, files, tuned, about)


def prepare_record(path: Path) -> None:
    """Have the MLflow database of a folder be whole, and its runs find their files.

    A folder may have been moved or copied, and the database deleted or damaged.

    Raises:
        SearchError: If the folder holds no search, or nothing was measured yet.
    """
    folder = folder_at(path)
    folder.settings()
    if is_whole(path):
        relocate(path)
        return
    progress.say(f"MLflow's record of '{path}' is made anew from the folder")
    with folder.claimed():
        about = _about(path)
        _complete(folder, _tracker(folder, about, path), about)


def known_server(path: Path) -> str | None:
    """Return the address of the server on which the search in a folder was logged last, if any."""
    known = kept_json(path / TRACKING[0], _check)
    return None if known is None else known["uri"]


def served_page(path: Path, uri: str) -> str:
    """Log on a server what it lacks of a search, unless that is going on; return its page there.

    Args:
        path: The folder of the search.
        uri: The server; of one that has no pages, the address is that of a server at "".

    Raises:
        SearchError: If the folder holds no search, nothing was measured yet, or the server does
            not answer.
    """
    folder, about = folder_at(path), _about(path)
    folder.settings()
    with suppress(ClaimedError), folder.claimed():
        tracker = _tracker(folder, about, UsersServer(uri, _keep_address(folder, uri)))
        _complete(folder, tracker, about)
    tracker = _tracker(folder, about, UsersServer(uri, _keep_address(folder, uri)))
    return tracker.page(shown(uri) if is_web(uri) else "")


def _complete(folder: SearchFolder, tracker: Tracker, about: About) -> None:
    trials, given_up = folder.trials(), given_up_of(folder)
    seconds = sum(trial.seconds for trial in trials)
    result = summary(folder, seconds, without_file=len(given_up))
    tracker.reconcile(trials, folder.artifact, given_up)
    files = [folder.path / name for name in _REPORT if (folder.path / name).is_file()]
    tracker.log_outcome(outcome_of(folder, result, files, about))
    tracker.end("FINISHED")


def _about(path: Path) -> About:
    document = kept_json(path / ABOUT, About.from_json)
    return About() if document is None else About.from_json(document)


def given_up_of(folder: SearchFolder) -> dict[int, WithoutFile]:
    """Return what is known of trials without a result, by their numbers."""
    known = folder.ledger.given_up()
    return {number: why for number, why in known.items() if folder.trial(number) is None}
