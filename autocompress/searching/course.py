"""The course of a search: what is done after what, from the baseline to the report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from autocompress.errors import PlanError, SearchError
from autocompress.outcome.about import About
from autocompress.outcome.names import SIZE
from autocompress.outcome.results import SearchResult
from autocompress.plan import CompressionPlan
from autocompress.recovery import RecoverySettings
from autocompress.searching.concluding import Conclusion
from autocompress.searching.effort import Effort
from autocompress.searching.executors import Place
from autocompress.searching.folder import SearchFolder
from autocompress.searching.jobs import Bench
from autocompress.searching.judge import REGAINED, Judge
from autocompress.searching.last_resort import last_resort
from autocompress.searching.openings.guide import Guide
from autocompress.searching.openings.planning import Goals
from autocompress.searching.openings.uniform import file_size
from autocompress.searching.proposing import Proposer
from autocompress.searching.records import Records
from autocompress.searching.recovering import carry_out, is_begun, recovery_jobs
from autocompress.searching.request import Request
from autocompress.searching.restoring import Restorer
from autocompress.searching.space.questions import smallest_plan
from autocompress.searching.study import Study
from autocompress.searching.summary import summary
from autocompress.searching.trials import Trials
from autocompress.support import progress
from autocompress.support.signals import interrupts_held
from autocompress.tracking import AnyTracker

_SHARE_OF_OPENINGS = 0.35  # of the time, at most


class Desk(NamedTuple):
    """Where a search writes.

    Attributes:
        folder: Its folder.
        about: Tells how it was started.
        tracker: MLflow's record.
    """

    folder: SearchFolder
    about: About
    tracker: AnyTracker


class Course:
    """One call of a search: the parts, and the order in which they do their work."""

    def __init__(
        self, request: Request, judge: Judge, bench: Bench, desk: Desk, place: Place
    ) -> None:
        self._start = time.perf_counter()
        self._request, self._judge, self._bench, self._place = request, judge, bench, place
        self._folder, self._about, self._tracker = desk
        self._settings = self._folder.settings()
        self._seconds_before = sum(result.seconds for result in self._folder.trials())
        self._smallest: int | None = None
        self._records: Records | None = None

    def open(self) -> None:
        """Bring study, folder and tracking to agree."""
        with interrupts_held():
            self._records = self._opened(self._judge)

    def run(self) -> SearchResult:
        """Make the trials, fine-tune and conclude."""
        records, evaluator = self.records, self._bench.evaluator
        self.fine_tune(self._make_trials(self._judge, records))
        if self._summary(records).best is None:
            self.last_resort()
        return Conclusion(records, evaluator, self._about).reached(lambda: self._summary(records))

    @property
    def records(self) -> Records:
        """What is finished, once the course is open."""
        assert self._records is not None
        return self._records

    @contextmanager
    def breaking_off(self) -> Iterator[None]:
        """Say in study and tracking that the search has ended, where something goes wrong."""
        try:
            yield
        except BaseException as error:
            self._break_off(error)
            raise

    def _break_off(self, error: BaseException) -> None:
        """Say it, if the disk still takes it."""
        if isinstance(error, OSError):
            return  # opening the folder again puts all in order; a full disk tears what is written
        with suppress(SearchError, OSError), interrupts_held():
            if self._records is not None:
                self._records.reconcile()
            self._tracker.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")

    def _opened(self, judge: Judge) -> Records:
        settings = self._settings
        study = Study(
            self._folder.path / "optuna.journal",
            settings.directions,
            settings.sampler,
            settings.seed,
            judge.limits,
            parallel=self._request.is_parallel,
            results=self._folder.trials(),
        )
        Restorer(self._folder, self._request.space, self._bench.evaluator).restore_trials(study)
        return Records(self._folder, study, self._tracker)

    def _make_trials(self, judge: Judge, records: Records) -> Sequence[RecoverySettings]:
        """Make the trials; return how to fine-tune after them, as far as that is asked for.

        With a fallback, trials end with the openings, or early, if none of them keeps the limits.
        """
        effort, fallback = self._request.effort, self._request.fallback
        if fallback is not None and is_begun(self._folder, fallback):
            return [fallback]
        if not effort.allows(records.study.n_finished):
            return self._request.fine_tunings
        guide = self.plan()
        if guide is None:
            return self._request.fine_tunings
        proposer = Proposer(self._request.space, self._bench.evaluator.encoder, records)
        trials = Trials(guide, proposer, records, judge, self._settings.metric)
        with self._place.executing(self._bench, effort.jobs) as executor:
            if fallback is not None:
                trials.run(executor, effort.shortened(_SHARE_OF_OPENINGS), samples=False)
                if not any(result.feasible for result in records.results):
                    progress.say("no plan keeps the limits so far: fine-tuning the nearest")
                    return [fallback]
            trials.run(executor, effort)
        return self._request.fine_tunings

    def make(self, guide: Guide, effort: Effort) -> bool:
        """Make trials; return whether the search space may hold further plans."""
        proposer = Proposer(self._request.space, self._bench.evaluator.encoder, self.records)
        trials = Trials(guide, proposer, self.records, self._judge, self._settings.metric)
        with self._place.executing(self._bench, effort.jobs) as executor:
            trials.run(executor, effort)
        return not proposer.is_through

    def plan(self) -> Guide | None:
        """Plan the first trials; return None if no plan at all fits the budget."""
        judge = self._judge
        encoder, limit = self._bench.evaluator.encoder, self._request.budget_bytes
        progress.say("planning the first trials")
        max_rise = judge.max_rise
        rises = [] if max_rise is None else [max_rise]
        if max_rise is not None and self._request.fine_tunings:
            rises.append(max_rise + REGAINED)
        kept = self._folder.path / f"openings{'-recovery' * (len(rises) > 1)}.json"
        guide = Guide(self._request.space, encoder, Goals(limit, tuple(rises)), kept)
        if limit is None or any(self._fits(opening.plan) for opening in guide.known()):
            return guide
        progress.say("looking for the smallest plan of the search space")
        return guide if self._fits(smallest_plan(self._request.space, encoder)) else None

    def _fits(self, plan: CompressionPlan) -> bool:
        evaluator = self._bench.evaluator
        try:
            size = file_size(evaluator.encoder, plan)
        except PlanError:
            return False  # it is skipped, or fails, when its turn comes
        self._smallest = min(size, self._smallest or size)
        limit = evaluator.limits.get(SIZE)
        return limit is None or limit.excess(size) <= 0

    def last_resort(self) -> None:
        """Try what is no plan of the search space, but keeps a limit on the metric."""
        last_resort(self._bench.evaluator, self.records, self._settings.metric)

    def fine_tune(self, asked: Sequence[RecoverySettings]) -> None:
        """Fine-tune the promising plans in each of the ways that are asked for."""
        if not asked:
            return
        judge, records = self._judge, self.records
        result = self._summary(records)
        best = result.best_of(result.front)
        promising = judge.promising(records.results, None if best is None else best.trial)
        if promising is None:
            progress.say("no plan comes near enough to the limits: nothing is fine-tuned")
            return
        evaluator = self._bench.evaluator
        name, source = self._settings.metric, evaluator.source
        more = self._request.recovery_members - 1
        members = [promising, *judge.members(records.results, promising, more)]
        # One fine-tuning keeps all cores of a machine busy, and so do the two of a plan alone.
        side_by_side = self._request.effort.jobs if more else 1
        with self._place.executing(self._bench, min(side_by_side, len(members) + 1)) as executor:
            for one in asked:
                limits = judge.limits
                carry_out(
                    recovery_jobs(self._folder, source, name, limits, members, one), executor
                )

    def _summary(self, records: Records) -> SearchResult:
        seconds = round(self._seconds_before + time.perf_counter() - self._start, 1)
        return summary(self._folder, seconds, self._smallest, records.n_without_file)
