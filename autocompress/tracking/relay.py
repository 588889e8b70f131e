"""The record of one of several models: what is found goes to the record of all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autocompress.tracking.outcome import Outcome

if TYPE_CHECKING:
    from autocompress.outcome.results import TrialResult, WithoutFile
    from autocompress.tracking.patient import PatientTracker
    from autocompress.tracking.runs import Ending
    from autocompress.tracking.tracker import Tracker


class RelayTracker:
    """Hands trials on under the numbers that they have among those of all models.

    The record of all is brought to agree with the folders, concluded and ended by its owner.
    """

    def __init__(
        self,
        tracker: Tracker | PatientTracker,
        numbered: Callable[[TrialResult], TrialResult],
        number: Callable[[int], int],
    ) -> None:
        """Take the record.

        Args:
            tracker: Of all models.
            numbered: Gives a trial of the model as one of all.
            number: Gives the number of such a trial.
        """
        self._tracker, self._numbered, self._number = tracker, numbered, number

    def reconcile(
        self,
        results: Sequence[TrialResult],
        artifact_of: Callable[[int], Path],
        given_up: Mapping[int, WithoutFile] | None = None,
    ) -> None:
        """Leave it to the owner."""

    def log_trial(self, result: TrialResult, artifact: Path) -> None:
        """Write a finished trial."""
        self._tracker.log_trial(self._numbered(result), artifact)

    def log_given_up(self, number: int, known: WithoutFile) -> None:
        """Write a trial of which there is no file."""
        self._tracker.log_given_up(self._number(number), known)

    def log_outcome(self, outcome: Outcome) -> None:
        """Leave it to the owner."""

    def end(self, status: Ending) -> None:
        """Leave it to the owner."""
