"""Making the trials of a search: each durable in folder, study and tracking before the next."""

from __future__ import annotations

import sys

from autocompress.errors import AutocompressError, LostWorkersError, PlanError, SearchError
from autocompress.outcome.limits import format_bytes
from autocompress.outcome.results import TrialResult
from autocompress.searching.effort import Effort
from autocompress.searching.executors import Executor, Outcome
from autocompress.searching.jobs import Job, TrialJob
from autocompress.searching.judge import Judge
from autocompress.searching.openings.guide import Guide
from autocompress.searching.openings.uniform import Opening
from autocompress.searching.proposing import Proposal, Proposer
from autocompress.searching.records import Records
from autocompress.support import progress
from autocompress.support.signals import interrupts_held
from autocompress.trial.looks import GivenUp

_FAILURES_IN_A_ROW, _LOST_IN_A_ROW = 3, 10


class Trials:
    """Makes the trials of one search."""

    def __init__(
        self, guide: Guide, proposer: Proposer, records: Records, judge: Judge, metric: str
    ) -> None:
        """Take what is needed.

        Args:
            guide: Knows the openings.
            proposer: Makes plans.
            records: Keep what is finished.
            judge: Knows what trials are worth.
            metric: Name of the task's metric.
        """
        self._guide, self._proposer, self._judge = guide, proposer, judge
        self._records, self._study = records, records.study
        self._metric = metric
        self._proposals: dict[int, Proposal] = {}
        self._failures: list[tuple[int, AutocompressError]] = []

    def run(self, executor: Executor, effort: Effort, *, samples: bool = True) -> None:
        """Make trials until there are enough or time is up.

        Args:
            executor: Makes them.
            effort: How much is tried.
            samples: Whether the sampler goes on where the openings are through.

        A failure counts as a trial once another trial has not failed. Until then it may be the
        task that is broken: then nothing is lost, and those trials are made again when it works.

        Raises:
            TaskError, ObjectiveError: If a user's own code raises three times in a row, or each
                time.
            SearchError: If three in a row fail in the same way, or ten by lost workers; or if a
                process ends by itself.
        """
        total = effort.trials if effort.trials < sys.maxsize else None
        done = self._study.n_finished
        with progress.bar("trials", total, done=done, deadline=effort.deadline) as bar:
            while True:
                while (
                    executor.n_begun < executor.capacity
                    and effort.allows(self._begun(executor))
                    and (samples or self._opening() is not None)
                    and not self._proposer.is_through
                ):
                    self._begin(executor)
                if not executor.n_begun:
                    break
                bar.advance(note=self._end(*executor.next()))
        if self._failures and not self._records.results:
            raise self._failures[-1][1]
        self._keep_failures()

    def _begun(self, executor: Executor) -> int:
        return self._study.n_finished + executor.n_begun + len(self._failures)

    def _opening(self) -> Opening | None:
        return self._guide.next(
            self._study.begun(), self._records.results, self._judge.rise, self._judge.is_slow
        )

    def _begin(self, executor: Executor) -> None:
        with interrupts_held():
            proposal = self._proposer.propose(self._opening)
        if proposal is None:
            return
        number = proposal.number
        self._proposals[number] = proposal
        path = self._records.folder.artifact(number)
        hurdles = self._judge.hurdles(self._records.results)
        executor.begin(TrialJob(number, proposal.plan, path, hurdles))

    def _end(self, job: Job, outcome: Outcome) -> str:
        """Keep what a trial has given, and say it in a few words."""
        assert isinstance(job, TrialJob)
        proposal = self._proposals[job.number]
        if isinstance(outcome, TrialResult):
            self._keep_failures()
            result = outcome.of(proposal.origin)
            self._records.keep(result)
            return self._note(result)
        if isinstance(outcome, GivenUp):
            self._records.reject(outcome, proposal.plan, proposal.origin)
            return outcome.reason
        progress.say(f"trial {job.number} failed: {outcome}")
        self._count_failure(job.number, outcome)
        return "failed"

    def _note(self, result: TrialResult) -> str:
        best = self._judge.best(self._records.results)
        found = "none keeps the limits yet" if best is None else f"best {self._numbers(best)}"
        if result.rejected is not None:
            return f"{found}; last {format_bytes(result.size_bytes)}, {result.rejected}"
        return found if result is best else f"{found}; last {self._numbers(result)}"

    def _numbers(self, result: TrialResult) -> str:
        size = format_bytes(result.size_bytes)
        return f"{size}, {self._metric} {result.values[self._metric]:.4g}"

    def _count_failure(self, number: int, error: AutocompressError) -> None:
        """End the search after three failures in a row of the same kind.

        A plan that does not fit says nothing of the plans to come. Where workers come and go,
        some trials meet with none that stays; only ten in a row are no accident.
        """
        if isinstance(error, PlanError):
            self._fail(number, error)
            return
        if self._failures and type(self._failures[-1][1]) is not type(error):
            self._keep_failures()
        self._failures.append((number, error))
        is_lost = isinstance(error, LostWorkersError)
        if len(self._failures) == (_LOST_IN_A_ROW if is_lost else _FAILURES_IN_A_ROW):
            told = f"{len(self._failures)} trials in a row failed"
            if error.__cause__ is not None:
                progress.say(f"{told}: the search ends")
                raise error
            raise SearchError(f"{told}: {error}") from error

    def _keep_failures(self) -> None:
        for number, error in self._failures:
            self._fail(number, error)
        self._failures.clear()

    def _fail(self, number: int, error: AutocompressError) -> None:
        proposal = self._proposals[number]
        self._records.fail(number, error, proposal.plan, proposal.origin)
