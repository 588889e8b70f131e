"""Making the trials of a search: each durable in folder, study and tracking before the next."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import mean
from typing import NamedTuple

from autocompress.errors import AutocompressError, PlanError, SearchError
from autocompress.outcome.objectives import LATENCY, excesses, format_bytes
from autocompress.outcome.results import TrialResult, pareto_front
from autocompress.plan import CompressionPlan
from autocompress.reporting.insight import worsening_of
from autocompress.searching.executors import Job, Outcome, Workers
from autocompress.searching.folder import SearchFolder, Settings
from autocompress.searching.openings.guide import Guide
from autocompress.searching.openings.uniform import Opening
from autocompress.searching.space.language import Space
from autocompress.searching.space.questions import ask_plan
from autocompress.searching.study import Asking, Study
from autocompress.support import progress
from autocompress.support.signals import shielded
from autocompress.tracking import Tracker
from autocompress.trial.evaluator import Evaluator, GivenUp, Hurdle

_FAILURES_IN_A_ROW, _PROPOSALS = 3, 20
_TWO = 2  # size and the task's metric


class Effort(NamedTuple):
    """How much is tried.

    Attributes:
        trials: Trials of the search in all.
        deadline: When the last one may begin, by `time.perf_counter`.
        jobs: How many are made at a time.
    """

    trials: int
    deadline: float
    jobs: int

    def allows(self, begun: int) -> bool:
        """Whether another trial may begin."""
        return begun < self.trials and time.perf_counter() < self.deadline

    def shortened(self, share: float) -> Effort:
        """Return it with a share of the time that is left."""
        now = time.perf_counter()
        return self._replace(deadline=now + (self.deadline - now) * share)


class Trials:
    """The trials of one search.

    Attributes:
        results: Those that are finished and lie in the folder.
    """

    def __init__(
        self,
        folder: SearchFolder,
        settings: Settings,
        evaluator: Evaluator,
        space: Space,
        study: Study,
        tracker: Tracker,
        baseline: float,
    ) -> None:
        self.results = folder.trials()
        self._folder, self._settings, self._evaluator = folder, settings, evaluator
        self._space, self._study, self._tracker = space, study, tracker
        self._baseline = baseline
        self._origins: dict[int, str] = {}
        self._failures: list[AutocompressError] = []

    def run(self, guide: Guide, effort: Effort, *, samples: bool = True) -> None:
        """Make trials until there are enough or time is up.

        Args:
            guide: Knows the openings.
            effort: How much is tried.
            samples: Whether the sampler goes on where the openings are through.

        Raises:
            SearchError: If three in a row fail in the same way, or a process dies.
        """
        is_known = effort.trials < sys.maxsize
        with (
            progress.bar("trials", effort.trials if is_known else None) as bar,
            Workers(self._evaluator, effort.jobs) as workers,
        ):
            bar.advance(self._study.n_finished)
            while True:
                while (
                    workers.n_begun < workers.count
                    and effort.allows(self._study.n_finished + workers.n_begun)
                    and (samples or self._opening(guide) is not None)
                ):
                    self._begin(guide, workers)
                if not workers.n_begun:
                    return
                bar.advance(note=self._end(*workers.next()))

    def rise(self, result: TrialResult) -> float:
        """Return how much worse the metric is than the baseline's, in shares of it.

        Infinite where it was not measured.
        """
        metric = self._settings.metric
        if metric not in result.values:
            return math.inf
        direction = self._settings.directions[metric]
        return worsening_of(result.values[metric], self._baseline, direction)

    def is_looked_at(self, result: TrialResult) -> bool:
        """Whether the metric was measured, or at least losses on the first parts of the data."""
        return bool(result.losses) or self.rise(result) < math.inf

    def least_loss(self, results: Sequence[TrialResult]) -> TrialResult | None:
        """Return the trial that loses least of those that were looked at.

        They are compared on the parts of the data that all of them have seen: most were rejected
        after a few.
        """
        parts = min((len(one.losses) for one in results), default=0)
        if parts:
            return min(results, key=lambda one: mean(one.losses[:parts]))
        return min(results, key=self.rise, default=None)

    def is_slow(self, result: TrialResult, margin: float = 0.0) -> bool:
        """Whether a plan misses a limit on the latency, made stricter by a share of it."""
        excess = excesses(result.values, self._evaluator.limits).get(LATENCY)
        return excess is not None and excess > -margin

    def _begin(self, guide: Guide, workers: Workers) -> None:
        with shielded():
            proposal = self._propose(guide)
        if proposal is None:
            return
        asking, plan = proposal
        self._origins[asking.number] = asking.origin
        path = self._folder.artifact(asking.number)
        workers.begin(Job(asking.number, plan, path, self._hurdles()))

    def _propose(self, guide: Guide) -> tuple[Asking, CompressionPlan] | None:
        """Return the next plan that can be carried out, or None if many in a row cannot.

        In a wide space, many a combination does not fit some weight. Such proposals are kept in
        the study, but only the last of many counts as a trial, one that failed.
        """
        for left in reversed(range(_PROPOSALS)):
            opening = self._opening(guide)
            asked = None if opening is None else (opening.origin, opening.answers)
            asking = self._study.ask(asked)
            plan = ask_plan(self._space, self._evaluator.source, asking)
            try:
                self._evaluator.encoder.check(plan)
            except PlanError as error:
                if left:
                    self._study.misfit(asking.number, error)
                else:
                    self._study.fail(asking.number, error)
                    progress.say(f"{_PROPOSALS} plans in a row do not fit; the last: {error}")
            else:
                return asking, plan
        return None

    def _opening(self, guide: Guide) -> Opening | None:
        return guide.next(self._study.begun(), self.results, self.rise, self.is_slow)

    def _hurdles(self) -> list[Hurdle]:
        """Return what tells early that a plan is of no use.

        One is the trial that comes nearest to the limit on the metric from above: what is worse
        is above it too. The others are the trials of the front, as long as size and metric are
        all that counts: what is worse than a smaller file will not be on the front.
        """
        limit, hurdles = self._settings.max_rise, []
        if limit is not None:
            above = [result for result in self.results if limit < self.rise(result) < math.inf]
            for nearest in sorted(above, key=self.rise)[:1]:
                reason = f"worse than trial {nearest.number}, which is above the limit"
                hurdles.append(Hurdle(nearest.losses, 0, reason, nearest.predicted))
        if len(self._settings.directions) == _TWO:
            for result in pareto_front(self.results, self._settings.directions):
                reason = f"worse than trial {result.number}, which is smaller"
                size = result.size_bytes
                hurdles.append(Hurdle(result.losses, size, reason, result.predicted))
        return hurdles

    def _end(self, job: Job, outcome: Outcome) -> str:
        """Keep what a trial has given, and say it in a few words."""
        if isinstance(outcome, TrialResult):
            self._failures.clear()
            result = replace(outcome, origin=self._origins[job.number])
            self._keep(result)
            return self._note(result)
        if isinstance(outcome, GivenUp):
            with shielded():
                self._study.reject(job.number, outcome.excess, outcome.reason)
            return outcome.reason
        with shielded():
            self._study.fail(job.number, outcome)
        progress.say(f"trial {job.number} failed: {outcome}")
        self._count_failure(outcome)
        return "failed"

    def _keep(self, result: TrialResult) -> None:
        """Make a result durable in the folder first: from there, the rest can be restored."""
        with shielded():
            self._folder.save_trial(result)
            self.results.append(result)
            self._study.tell(result)
            self._tracker.log_trial(result, self._folder.artifact(result.number))

    def _note(self, result: TrialResult) -> str:
        size, metric = format_bytes(result.size_bytes), self._settings.metric
        if result.rejected is not None:
            return f"{size}, {result.rejected}"
        return f"{size}, {metric} {result.values[metric]:.2f}"

    def _count_failure(self, error: AutocompressError) -> None:
        """End the search after three failures in a row of the same kind.

        A plan that does not fit says nothing of the plans to come.
        """
        if isinstance(error, PlanError):
            return
        if self._failures and type(self._failures[-1]) is not type(error):
            self._failures.clear()
        self._failures.append(error)
        if len(self._failures) == _FAILURES_IN_A_ROW:
            raise SearchError(f"three trials in a row failed: {error}") from error
