"""A server that may go away while a search goes on: what it misses is logged when it is back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from autocompress.errors import SearchError
from autocompress.support import progress
from autocompress.tracking.outcome import Outcome
from autocompress.tracking.tracker import Tracker

if TYPE_CHECKING:
    from autocompress.outcome.results import TrialResult, WithoutFile
    from autocompress.tracking.runs import Ending

_SHORTEST_S, _LONGEST_S = 5.0, 60.0
"""From one look for the server to the next."""


class Kept(NamedTuple):
    """What lies in the folder of a search.

    Attributes:
        results: All finished trials.
        artifact_of: Gives the file of a trial by its number.
        given_up: By number, what is known of trials without a file.
    """

    results: Sequence[TrialResult]
    artifact_of: Callable[[int], Path]
    given_up: Mapping[int, WithoutFile]


class PatientTracker:
    """Writes a search to a server as `Tracker` does, but no fault of the server ends the search.

    After a fault, the server is looked for now and then, when there is something to be logged;
    when it answers, its runs are brought to agree with the folder.
    """

    def __init__(
        self, begin: Callable[[], Tracker], kept: Callable[[], Kept], server: str
    ) -> None:
        """Look for the server.

        Args:
            begin: Starts or continues the run of the search there.
            kept: Reads what lies in the folder.
            server: What to call it.
        """
        self._begin, self._kept, self._server = begin, kept, server
        self._tracker: Tracker | None = None
        self._pause = self._next = 0.0
        self._lacks_outcome = True
        try:
            self._tracker = begin()
        except SearchError as error:
            self._leave(error)

    def reconcile(
        self,
        results: Sequence[TrialResult],
        artifact_of: Callable[[int], Path],
        given_up: Mapping[int, WithoutFile] | None = None,
    ) -> None:
        """Have one ended run for each finished trial, and no other."""
        self._log(lambda tracker: tracker.reconcile(results, artifact_of, given_up))

    def log_trial(self, result: TrialResult, artifact: Path) -> None:
        """Write a finished trial, which lies in the folder by now."""
        self._log(lambda tracker: tracker.log_trial(result, artifact))

    def log_given_up(self, number: int, known: WithoutFile) -> None:
        """Write a trial of which there is no file, and of which the folder knows by now."""
        self._log(lambda tracker: tracker.log_given_up(number, known))

    def log_outcome(self, outcome: Outcome) -> None:
        """Write what a search has come to."""
        if self._tracker is None:
            self._look(at_once=True)
        if self._tracker is not None:
            try:
                self._tracker.log_outcome(outcome)
                self._lacks_outcome = False
            except SearchError as error:
                self._leave(error)

    def end(self, status: Ending) -> None:
        """Mark the search as ended, if the server knows all of it; else say what to do."""
        if self._tracker is not None and (status != "FINISHED" or not self._lacks_outcome):
            try:
                self._tracker.end(status)
                return
            except SearchError as error:
                self._leave(error)
        progress.say(
            f"MLflow at '{self._server}' lacks a part of this search; all of it lies in the "
            "folder, and the same command again logs it there, as does `autocompress ui`"
        )

    def _log(self, action: Callable[[Tracker], None]) -> None:
        """Do what bringing runs and folder to agree would do as well."""
        if self._tracker is None:
            self._look()
            return
        try:
            action(self._tracker)
        except SearchError as error:
            self._leave(error)

    def _leave(self, error: SearchError) -> None:
        self._tracker = None
        self._pause, self._next = _SHORTEST_S, time.monotonic() + _SHORTEST_S
        progress.say(f"{error}; trials are kept in the folder, and logged when that is mended")

    def _look(self, *, at_once: bool = False) -> None:
        """Look whether the server is back, if it is time to, and log what it lacks."""
        if not at_once and time.monotonic() < self._next:
            return
        try:
            tracker = self._begin()
            progress.say(f"MLflow at '{self._server}' answers again")
            tracker.reconcile(*self._kept())
        except SearchError:
            self._pause = min(2 * self._pause, _LONGEST_S)
            self._next = time.monotonic() + self._pause
            return
        self._tracker = tracker
