"""The course of a search: what is done after what, from the baseline to the report."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace

from torch import nn

from autocompress.encoding.encoder import Encoder
from autocompress.errors import PlanError, SearchError, TaskError
from autocompress.knowledge.description import understood
from autocompress.knowledge.guarded import GuardedTask, guarded
from autocompress.knowledge.kept import Kept
from autocompress.knowledge.overview import overview
from autocompress.knowledge.sensitivity import with_sensitivities
from autocompress.knowledge.source import Source
from autocompress.knowledge.task import Task
from autocompress.knowledge.teaching import check_teacher, follows_teacher
from autocompress.outcome.about import About
from autocompress.outcome.limits import resolved
from autocompress.outcome.names import SIZE
from autocompress.outcome.objectives import directions_of
from autocompress.outcome.results import SearchResult
from autocompress.plan import CompressionPlan
from autocompress.recovery import RecoverySettings
from autocompress.searching.beginning import check_rise, first_look, has_losses, measured_baseline
from autocompress.searching.concluding import Conclusion
from autocompress.searching.describing import describe, settings_of
from autocompress.searching.executors import Place, place_of
from autocompress.searching.folder import WEIGHTS, SearchFolder
from autocompress.searching.jobs import Bench
from autocompress.searching.judge import REGAINED, Judge
from autocompress.searching.last_resort import last_resort
from autocompress.searching.openings.guide import Guide
from autocompress.searching.openings.planning import Goals
from autocompress.searching.openings.uniform import file_size
from autocompress.searching.proposing import Proposer
from autocompress.searching.record import check_server, open_record
from autocompress.searching.records import Records
from autocompress.searching.recovering import carry_out, is_begun, recovery_jobs
from autocompress.searching.request import Request
from autocompress.searching.restoring import Restorer
from autocompress.searching.settings import Settings
from autocompress.searching.space.questions import smallest_plan
from autocompress.searching.study import Study
from autocompress.searching.summary import summary
from autocompress.searching.trials import Trials
from autocompress.support import progress
from autocompress.support.files import write_json
from autocompress.support.signals import interrupts_held
from autocompress.trial.evaluator import Evaluator
from autocompress.trial.measuring import engine_of, objectives_of

_SHARE_OF_OPENINGS = 0.35  # of the time, at most


def conduct(model: nn.Module, task: Task, request: Request, folder: SearchFolder) -> SearchResult:
    """Search, or go on with a search that lies in the folder.

    Args:
        model: The user's model; it is not changed.
        task: Says what a good model is.
        request: What is asked for.
        folder: Where everything lies.

    Raises:
        ModelError, ExportError: If the model cannot be searched.
        TaskError, ObjectiveError: If the task or an objective raises, or gives what it must not.
        BudgetError: If a limit on the rise is a share of a metric that is 0.
        SearchError: If folder or cluster cannot be used, or several trials in a row fail.
    """
    task = guarded(task)
    objectives = objectives_of(task, request.objectives, latency=request.is_timed)
    settings = settings_of(model, task, request, directions_of(objectives))
    with ExitStack() as stack:
        stack.enter_context(folder.claimed())
        folder.check(settings)
        place = stack.enter_context(place_of(request.cluster))
        folder.heal()
        check_server(folder, request.tracking_uri)
        look = first_look(model, task, folder, settings.metric)
        if look is not None:
            check_rise(settings, look.score)
        if look is not None or request.fine_tunings or request.fallback:
            request = _with_losses(request, model, task)
        kept = Kept.of(model, task, folder.path)
        source = Source.of(model, task, kept)
        for line in overview(model, source):
            progress.say(line)
        engine = engine_of(request.engine, model, Encoder(source))
        folder.adopt(settings)
        write_json(folder.path / WEIGHTS, understood(model, source))
        evaluator = Evaluator(Encoder(source), engine, task, objectives)
        Restorer(folder, request.space, evaluator).restore_baseline()
        baseline = measured_baseline(evaluator, folder, model, look)
        source = with_sensitivities(source, model, task, kept)
        evaluator = replace(evaluator, encoder=Encoder(source))
        about = describe(request, model, task, folder)
        bench = Bench(model, evaluator, request.teacher)
        return _Course(request, folder, settings, bench, about, place).run(baseline)


def _with_losses(request: Request, model: nn.Module, task: GuardedTask) -> Request:
    """Refuse fine-tuning of what cannot be trained; leave it out where it is a last resort."""
    if request.teacher is not None:
        check_teacher(request.teacher, model, task)
    if not has_losses(model, task):
        if request.fine_tunings:
            options = "tuning (--tune)" if request.recovery is None else "recovery (--recover)"
            raise TaskError(
                f"{options.split()[0]} trains with `task.training_losses(...)`, but the task "
                f"yields none; define it, or leave {options} out"
            )
        return replace(request, fallback=None)
    if request.tuning is not None and not follows_teacher(model, task):
        raise TaskError(
            "tuning without labels needs losses that compare with the teacher where "
            "`distillation` is 1, but those of `task.training_losses(...)` do not depend on "
            "`teacher`; let them, or leave tuning (--tune) out"
        )
    return request


class _Course:
    """One call of `conduct`: the parts, and the order in which they do their work."""

    def __init__(
        self,
        request: Request,
        folder: SearchFolder,
        settings: Settings,
        bench: Bench,
        about: About,
        place: Place,
    ) -> None:
        self._start = time.perf_counter()
        self._request, self._folder, self._settings, self._bench = request, folder, settings, bench
        self._about, self._place = about, place
        with interrupts_held():
            self._tracker = open_record(folder, about, request.tracking_uri)
        self._seconds_before = sum(result.seconds for result in folder.trials())
        self._smallest: int | None = None
        self._records: Records | None = None

    def run(self, baseline: Mapping[str, float]) -> SearchResult:
        """Make the trials, fine-tune and conclude."""
        try:
            limits = resolved(self._settings.asked, baseline)
            evaluator = replace(self._bench.evaluator, limits=limits)
            self._bench = replace(self._bench, evaluator=evaluator)
            judge = Judge(self._settings, limits, baseline)
            with interrupts_held():
                self._records = records = self._opened(judge)
            self._fine_tune(judge, records, self._make_trials(judge, records))
            if self._summary(records).best is None:
                last_resort(evaluator, records, self._settings.metric)
            result = Conclusion(records, evaluator, self._about).reached(
                lambda: self._summary(records)
            )
        except BaseException as error:
            self._break_off(error)
            raise
        return result

    def _break_off(self, error: BaseException) -> None:
        """Say in study and tracking that the search has ended, if the disk still takes it."""
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
        guide = self._guide(judge)
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

    def _guide(self, judge: Judge) -> Guide | None:
        """Plan the first trials; return None if no plan at all fits the budget."""
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

    def _fine_tune(
        self, judge: Judge, records: Records, asked: Sequence[RecoverySettings]
    ) -> None:
        """Fine-tune the promising plans in each of the ways that are asked for."""
        if not asked:
            return
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
