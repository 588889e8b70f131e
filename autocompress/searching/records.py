"""The one owner of what a search knows: its folder, its study and its tracking."""

from __future__ import annotations

import shutil
from pathlib import Path

from autocompress.outcome.about import About
from autocompress.outcome.origin import SAMPLED, Origin
from autocompress.outcome.results import SearchResult, TrialResult, WithoutFile
from autocompress.plan import CompressionPlan
from autocompress.searching.folder import SearchFolder
from autocompress.searching.ledger import failure
from autocompress.searching.record import given_up_of, outcome_of
from autocompress.searching.study import Study
from autocompress.support.signals import interrupts_held
from autocompress.tracking import AnyTracker
from autocompress.trial.looks import GivenUp


class Records:
    """Keeps what is finished, first in the folder, from which the rest can be restored.

    No interrupt falls into the middle of it.

    Attributes:
        folder: The folder.
        study: The study.
        results: The finished trials that lie in the folder, in the order in which they finished.
    """

    def __init__(self, folder: SearchFolder, study: Study, tracker: AnyTracker) -> None:
        """Bring study, folder and tracking to agree after an interruption at any point."""
        self.folder, self.study, self._tracker = folder, study, tracker
        self.results = folder.trials()
        self.reconcile()

    @property
    def n_without_file(self) -> int:
        """How many trials failed, or were given up before they were encoded."""
        return max(self.study.n_finished - len(self.results), 0)

    def reconcile(self) -> None:
        """End what was begun and not ended: with its result if it has one, or as abandoned."""
        with interrupts_held():
            for number in self.study.unfinished():
                result = self.folder.trial(number)
                if result is not None:
                    self.study.tell(result)
                else:
                    self.study.abandon(number)
                    folder = self.folder.artifact(number).parent
                    shutil.rmtree(folder, ignore_errors=True)
            given_up = given_up_of(self.folder)
            self._tracker.reconcile(self.folder.trials(), self.folder.artifact, given_up)

    def keep(self, result: TrialResult) -> None:
        """Make a result durable."""
        with interrupts_held():
            self.folder.save_trial(result)
            self.results.append(result)
            self.study.tell(result)
            self._tracker.log_trial(result, self.folder.artifact(result.number))

    def reject(self, given_up: GivenUp, plan: CompressionPlan, origin: Origin = SAMPLED) -> None:
        """Keep that a trial was given up before there was a file."""
        number, reason = given_up.number, given_up.reason
        with interrupts_held():
            self.study.reject(number, given_up.excesses, reason, plan)
            self._tracker.log_given_up(number, WithoutFile(reason, origin.label, plan))

    def fail(
        self, number: int, error: Exception, plan: CompressionPlan, origin: Origin = SAMPLED
    ) -> None:
        """Keep that a trial failed."""
        with interrupts_held():
            reason = failure(self.study.fail(number, error, plan))
            self._tracker.log_given_up(number, WithoutFile(reason, origin.label, plan))

    def conclude(self, result: SearchResult, files: list[Path], about: About) -> None:
        """Say the outcome in MLflow, and that the search has finished."""
        with interrupts_held():
            self._tracker.log_outcome(outcome_of(self.folder, result, files, about))
            self._tracker.end("FINISHED")
