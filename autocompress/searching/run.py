"""The search itself: one trial after the other, each durable before the next begins."""

from __future__ import annotations

import hashlib
import math
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, get_args

from torch import nn

from autocompress import progress
from autocompress.errors import AutocompressError, PlanError, SearchError
from autocompress.objectives import (
    SIZE,
    Budget,
    Limit,
    Objective,
    format_bytes,
    parse_rise,
    parse_seconds,
    rise_limit,
)
from autocompress.plan import CompressionPlan
from autocompress.recovery import RecoveryBudget, RecoverySettings
from autocompress.report import write_front
from autocompress.results import SearchResult, TrialResult, pareto_front
from autocompress.searching.folder import SamplerName, SearchFolder, Settings, write_json
from autocompress.searching.guide import Guide
from autocompress.searching.parameters import ask_plan, smallest_plan
from autocompress.searching.recovering import REGAINED, recover_best
from autocompress.searching.shield import shielded
from autocompress.searching.space import Space, load_space
from autocompress.searching.study import Study
from autocompress.searching.warm import file_size
from autocompress.searching.workers import Job, Outcome, Workers
from autocompress.sensitivity import with_sensitivities
from autocompress.task import Task
from autocompress.tracking import Tracker
from autocompress.trial import Evaluator, Hurdle, TooLarge
from autocompress.weights import ModelWeights

_TRIALS = 40
_FAILURES_IN_A_ROW = 3
_TWO = 2  # size and the task's metric
_OPENINGS, _SENSITIVITIES = "openings.json", "sensitivities.json"


def search(
    model: nn.Module,
    task: Task,
    *,
    budget: str | int | Budget | None = None,
    max_rise: str | float | None = None,
    objectives: Sequence[Objective] = (),
    space: str | Path | Space = "default",
    trials: int | None = None,
    timeout: str | None = None,
    jobs: int = 1,
    out: str | Path | None = None,
    seed: int = 0,
    sampler: SamplerName = "tpe",
    name: str | None = None,
    recovery: str | RecoverySettings | None = None,
) -> SearchResult:
    """Search for the best ways to store a model's weights.

    Minimises the size of the artifact's file and optimises the task's metric, and any further
    objectives, on validation data. Limits combine freely: of the trials that keep all of them,
    the best is the one with the best metric, or with a limit on its rise the smallest. The same
    call again continues a search that was interrupted, or that is to have more trials. Everything
    it finds lies in `out`.

    Args:
        model: A module made of Embedding, Linear, LSTM, GRU and RNN weights, among others.
        task: Says what a good model is.
        budget: Limit on the size of the file, such as "2MB", or a number of bytes.
        max_rise: How much worse the metric may become, such as "1%" or 0.01.
        objectives: Further numbers for the front, each perhaps with a limit.
        space: Name of a search space, a TOML file, or a space.
        trials: How many trials the search is to have in all; by default 40, or with a timeout
            as many as it has time for.
        timeout: After which time no trial begins, such as "30m", counted from this call.
        jobs: How many trials are made at the same time, each on one processor core. With one,
            equal seeds give equal plans and bytes.
        out: The folder; by default `runs/<name>`.
        seed: Seed of the sampler.
        sampler: "tpe", "nsga2" or "random".
        name: What to call the model; by default its class.
        recovery: How to fine-tune the best plan after the search, such as "10m"; the
            uncompressed model is then fine-tuned as well, as a control. With a limit on the
            rise it is the smallest plan whose rise is at most ten points above it, since
            fine-tuning regains that and more. None leaves it out.

    Returns:
        The front, the best plan within all limits (None if no plan keeps them) and the baseline.

    Raises:
        BudgetError, SpaceError, ModelError, ObjectiveError: If an argument cannot be used.
        SearchError: If the folder cannot be used, or three trials in a row fail.
    """
    clock = time.perf_counter()
    limit = None if budget is None else Budget.parse(budget)
    rise = None if max_rise is None else parse_rise(max_rise)
    deadline = math.inf if timeout is None else clock + parse_seconds(timeout)
    chosen = space if isinstance(space, Space) else load_space(space)
    if trials is None:
        trials = _TRIALS if timeout is None else sys.maxsize
    for name_of, count in (("trials", trials), ("jobs", jobs)):
        if count < 1:
            raise SearchError(f"`{name_of} >= 1` must hold, but got {count}")
    if sampler not in get_args(SamplerName):
        known = ", ".join(get_args(SamplerName))
        raise SearchError(f"`sampler` must be one of {known}, but got '{sampler}'")
    name = name or type(model).__name__
    if isinstance(recovery, str):
        recovery = RecoverySettings(RecoveryBudget.parse(recovery), seed=seed)
    if recovery is not None and chosen.pipeline:
        recovery = replace(recovery, pipeline=True)
    folder = SearchFolder(Path(out or Path("runs") / name))
    ModelWeights.of(model)  # refuses what cannot be compressed, before anything is written
    with folder.claimed():
        evaluator = Evaluator(model, task, limit, objectives, cache=folder.path)
        settings = Settings(
            name=name,
            metric=task.metric,
            directions=evaluator.directions,
            budget_bytes=limit and limit.limit_bytes,
            max_rise=rise,
            limits={name: one.bound for name, one in evaluator.limits.items()},
            sampler=sampler,
            seed=seed,
            model=evaluator.source.weights.sha256,
            data=task.fingerprint(),
            space=hashlib.sha256(chosen.model_dump_json().encode()).hexdigest(),
        )
        folder.adopt(settings)
        fine_tune = None
        if recovery is not None:
            fine_tune = partial(recover_best, folder, model, task, evaluator, settings=recovery)
        source = with_sensitivities(evaluator.source, model, task, folder.path / _SENSITIVITIES)
        searching = _Search(folder, settings, evaluator.of(source), chosen)
        return searching.run(_Effort(trials, deadline, jobs), fine_tune)


class _Effort(NamedTuple):
    """How much is tried: trials in all, until when one may begin, and how many at a time."""

    trials: int
    deadline: float
    jobs: int

    def allows(self, begun: int) -> bool:
        return begun < self.trials and time.perf_counter() < self.deadline


class _Search:
    """One call of `search`: the parts, and the order in which they do their work."""

    def __init__(
        self, folder: SearchFolder, settings: Settings, evaluator: Evaluator, space: Space
    ) -> None:
        self._clock = time.perf_counter()
        self._folder, self._settings, self._evaluator = folder, settings, evaluator
        self._space, self._budget = space, evaluator.budget
        with shielded():
            self._tracker = Tracker(folder.path, settings.name, _tracked(settings))
        self._results = folder.trials()
        self._seconds_before = sum(result.seconds for result in self._results)
        self._smallest: int | None = None
        self._failures: list[AutocompressError] = []
        self._origins: dict[int, str] = {}

    def run(
        self, effort: _Effort, fine_tune: Callable[[TrialResult], None] | None = None
    ) -> SearchResult:
        try:
            if self._folder.baseline() is None:
                progress.say("measuring the uncompressed model")
                path = self._folder.artifact(None)
                self._folder.save_baseline(self._evaluator.baseline(path))
            self._limit_the_rise()
            with shielded():
                self._study = self._open_study(effort.jobs)
                self._reconcile()
            if effort.allows(self._study.n_finished):
                guide = self._prepare(recovers=fine_tune is not None)
                if guide is not None:
                    self._try_plans(guide, effort)
            if fine_tune is not None:
                promising = self._promising()
                if promising is not None:
                    fine_tune(promising)
            result = self._conclude()
        except BaseException as error:
            with shielded():
                if hasattr(self, "_study"):
                    self._reconcile()
                self._tracker.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise
        if result.front:
            self._show_links()
        return result

    def _limit_the_rise(self) -> None:
        """Turn the limit on the rise into one on the metric, now that its baseline is known."""
        settings, baseline = self._settings, self._folder.baseline()
        assert baseline is not None
        self._baseline = baseline[settings.metric]
        if settings.max_rise is not None:
            direction = settings.directions[settings.metric]
            limit = rise_limit(self._baseline, settings.max_rise, direction)
            self._evaluator = self._evaluator.limited(settings.metric, limit)

    def _open_study(self, jobs: int) -> Study:
        settings, limits = self._settings, dict(self._evaluator.limits)
        if self._budget is not None:
            limits[SIZE] = Limit(self._budget.limit_bytes)
        return Study(
            self._folder.path / "optuna.journal",
            settings.directions,
            settings.sampler,
            settings.seed,
            limits,
            parallel=jobs > 1,
        )

    def _show_links(self) -> None:
        links = self._tracker.links()
        progress.say(f"`autocompress ui {self._folder.path}` shows every trial in MLflow:")
        for name, link in vars(links).items():
            if link is not None:
                progress.say(f"  {name}: {link}")

    def _reconcile(self) -> None:
        """Bring study, folder and tracking to agree after an interruption at any point."""
        for number in self._study.unfinished():
            result = self._folder.trial(number)
            if result is not None:
                self._study.tell(result)
            else:
                self._study.abandon(number)
                shutil.rmtree(self._folder.artifact(number).parent, ignore_errors=True)
        self._tracker.reconcile(self._results, self._folder.artifact)

    def _prepare(self, *, recovers: bool) -> Guide | None:
        """Plan the first trials; return None if no plan at all fits the budget."""
        source = self._evaluator.source
        progress.say("planning the first trials")
        max_rise = self._settings.max_rise
        rises = [] if max_rise is None else [max_rise]
        if max_rise is not None and recovers:
            rises.append(max_rise + REGAINED)
        guide = Guide(self._space, source, self._budget, rises, self._folder.path / _OPENINGS)
        if self._budget is None or any(self._fits(opening.plan) for opening in guide.known()):
            return guide
        progress.say("looking for the smallest plan of the search space")
        return guide if self._fits(smallest_plan(self._space, source)) else None

    def _fits(self, plan: CompressionPlan) -> bool:
        size = file_size(self._evaluator.source, plan)
        self._smallest = min(size, self._smallest or size)
        return self._budget is None or self._budget.excess(size) <= 0

    def _try_plans(self, guide: Guide, effort: _Effort) -> None:
        known = effort.trials < sys.maxsize
        with (
            progress.bar("trials", effort.trials if known else None) as bar,
            Workers(self._evaluator, effort.jobs) as workers,
        ):
            bar.advance(self._study.n_finished)
            while True:
                while workers.n_begun < workers.count and effort.allows(
                    self._study.n_finished + workers.n_begun
                ):
                    self._begin(guide, workers)
                if not workers.n_begun:
                    return
                bar.advance(note=self._end(*workers.next()))

    def _begin(self, guide: Guide, workers: Workers) -> None:
        with shielded():
            begun = self._study.begun()
            opening = guide.next(begun, self._results, self._rise)
            asked = None if opening is None else (opening.origin, opening.answers)
            asking = self._study.ask(asked)
            plan = ask_plan(self._space, self._evaluator.source, asking)
        self._origins[asking.number] = asking.origin
        path = self._folder.artifact(asking.number)
        workers.begin(Job(asking.number, plan, path, self._hurdles()))

    def _rise(self, result: TrialResult) -> float:
        """Return how much worse the metric is than the baseline's, in shares of it."""
        value = result.values.get(self._settings.metric, math.nan)
        if math.isnan(value):
            return math.inf
        direction = self._settings.directions[self._settings.metric]
        return Limit(self._baseline, direction).excess(value)

    def _hurdles(self) -> list[Hurdle]:
        """Return what tells early that a plan is of no use.

        One is the trial that comes nearest to the limit on the metric from above: what is worse
        is above it too. The others are the trials of the front, as long as size and metric are
        all that counts: what is worse than a smaller file will not be on the front.
        """
        metric = self._settings.metric
        measured = [result for result in self._results if metric in result.values]
        hurdles = []
        if self._settings.max_rise is not None:
            above = [result for result in measured if self._rise(result) > self._settings.max_rise]
            nearest = min(above, key=self._rise, default=None)
            if nearest is not None:
                reason = f"worse than trial {nearest.number}, which is above the limit"
                hurdles.append(Hurdle(nearest.losses, 0, reason))
        if len(self._settings.directions) == _TWO:
            for result in pareto_front(measured, self._settings.directions):
                reason = f"worse than trial {result.number}, which is smaller"
                hurdles.append(Hurdle(result.losses, result.size_bytes, reason))
        return hurdles

    def _end(self, job: Job, outcome: Outcome) -> str:
        """Keep what a trial has given, and say it in a few words."""
        if isinstance(outcome, TrialResult):
            self._failures.clear()
            result = replace(outcome, origin=self._origins[job.number])
            self._keep(result)
            return self._note(result)
        with shielded():
            if isinstance(outcome, TooLarge):
                reason = f"estimated to be {100 * outcome.excess:.0f} % above the budget"
                self._study.reject(job.number, outcome.excess, reason)
                return reason
            self._study.fail(job.number, outcome)
        progress.say(f"trial {job.number} failed: {outcome}")
        self._count_failure(outcome)
        return "failed"

    def _count_failure(self, error: AutocompressError) -> None:
        """End the search after three failures in a row of the same kind.

        A plan that does not fit says nothing about the plans to come.
        """
        if isinstance(error, PlanError):
            return
        if self._failures and type(self._failures[-1]) is not type(error):
            self._failures.clear()
        self._failures.append(error)
        if len(self._failures) == _FAILURES_IN_A_ROW:
            raise SearchError(f"three trials in a row failed: {error}") from error

    def _promising(self) -> TrialResult | None:
        """Return the trial whose plan is worth fine-tuning."""
        max_rise = self._settings.max_rise
        if max_rise is None:
            best = self._result().best
            found = [result for result in self._results if best and result.number == best.trial]
            return found[0] if found else None
        near = [result for result in self._results if self._rise(result) <= max_rise + REGAINED]
        return min(near, key=lambda result: result.size_bytes, default=None)

    def _keep(self, result: TrialResult) -> None:
        """Make a result durable in the folder first: from there, the rest can be restored."""
        with shielded():
            self._folder.save_trial(result)
            self._results.append(result)
            self._study.tell(result)
            self._tracker.log_trial(result, self._folder.artifact(result.number))

    def _note(self, result: TrialResult) -> str:
        size = format_bytes(result.size_bytes)
        if result.rejected is not None:
            return f"{size}, {result.rejected}"
        return f"{size}, {self._settings.metric} {result.values[self._settings.metric]:.2f}"

    def _conclude(self) -> SearchResult:
        """Score the front on test data, write the outcome, and say so in MLflow."""
        found, scores = self._result(), self._folder.test_scores()
        everything = (found.baseline, *found.front, *found.recovered, *found.controls)
        missing = [scored.artifact for scored in everything if scored.artifact not in scores]
        if missing:
            with progress.bar("test data", len(missing)) as bar:
                for path in missing:
                    scores[path] = self._evaluator.score(path, "test")
                    bar.advance()
        self._folder.save_test_scores(scores)
        result = self._result()
        write_json(self._folder.path / "result.json", result.to_json())
        files = write_front(result, self._folder.trials(), self._folder.path)
        with shielded():
            self._tracker.log_front(result, files)
            for scored in (*result.recovered, *result.controls):
                self._tracker.log_recovered(scored, result.metric)
            self._tracker.end("FINISHED")
        return result

    def _result(self) -> SearchResult:
        seconds = self._seconds_before + time.perf_counter() - self._clock
        return self._folder.result(round(seconds, 1), self._smallest)


def _tracked(settings: Settings) -> dict[str, str]:
    """Return the parameters of the search as MLflow shows them."""
    budget = settings.budget_bytes
    return {
        "budget": format_bytes(budget) if budget else "none",
        "max_rise": "none" if settings.max_rise is None else f"{100 * settings.max_rise:g} %",
        "objectives": ", ".join(settings.directions),
        "sampler": settings.sampler,
        "seed": str(settings.seed),
        "model_sha256": settings.model,
    }
