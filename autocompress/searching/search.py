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
from typing import get_args

from torch import nn

from autocompress.encoding.encoder import Encoder
from autocompress.errors import SearchError
from autocompress.knowledge.sensitivity import with_sensitivities
from autocompress.knowledge.task import Task
from autocompress.knowledge.weights import ModelWeights
from autocompress.outcome.objectives import (
    LATENCY,
    SIZE,
    Budget,
    LatencyBudget,
    Limit,
    Objective,
    format_bytes,
    parse_rise,
    parse_seconds,
    rise_limit,
)
from autocompress.outcome.results import SearchResult, TrialResult
from autocompress.plan import CompressionPlan
from autocompress.recovery import RecoveryBudget, RecoverySettings
from autocompress.reporting.insight import write_insight
from autocompress.reporting.tables import write_front
from autocompress.searching.folder import SamplerName, SearchFolder, Settings
from autocompress.searching.openings.guide import Guide
from autocompress.searching.openings.uniform import file_size
from autocompress.searching.recovering import REGAINED, recover_best
from autocompress.searching.space.language import Space, load_space
from autocompress.searching.space.questions import smallest_plan
from autocompress.searching.study import Study
from autocompress.searching.trials import Effort, Trials
from autocompress.support import progress
from autocompress.support.files import write_json
from autocompress.support.signals import shielded
from autocompress.tracking import Tracker
from autocompress.trial.evaluator import Evaluator

_TRIALS = 40
_SENSITIVITIES = "sensitivities.json"
_SHARE_OF_OPENINGS = 0.35  # of the time, at most
_SHARE_OF_TUNING = 0.3  # once for the plan, once for the control
_LEAST_SECONDS = 10
_MARGIN = 0.1  # of the latency, which differs by so much with what else the machine does


def search(
    model: nn.Module,
    task: Task,
    *,
    budget: str | int | Budget | None = None,
    max_rise: str | float | None = None,
    latency_budget: str | LatencyBudget | None = None,
    objectives: Sequence[Objective] = (),
    space: str | Path | Space | None = None,
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
        latency_budget: Limit on the time for a word in ONNX Runtime, such as "0.25x" of what the
            uncompressed model takes there, or "0.1ms". Latency is then an objective, and all
            scores are those of exported models. Needs one job.
        objectives: Further numbers for the front, each perhaps with a limit.
        space: Name of a search space, a TOML file, or a space; by default "size", with a limit
            on the latency "balanced".
        trials: How many trials the search is to have in all; by default 40, or with a timeout
            as many as it has time for.
        timeout: After which time no trial begins, such as "30m", counted from this call. With
            limits on latency and rise, and without `recovery`, trials end with the openings, or
            after a third of it, if none keeps the limits so far; the plan that loses least is
            then fine-tuned.
        jobs: How many trials are made at the same time, each on one processor core. With one,
            equal seeds give equal plans and bytes.
        out: The folder; by default `runs/<name>`.
        seed: Seed of the sampler.
        sampler: "tpe", "nsga2" or "random".
        name: What to call the model; by default its class.
        recovery: How to fine-tune the best plan after the search, such as "10m"; the
            uncompressed model is then fine-tuned as well, as a control. With a limit on the
            rise it is the smallest plan whose rise is at most ten points above it, since
            fine-tuning regains that and more; with a limit on size or latency besides, the plan
            that loses least, if possible of those that stay 10 % below the limit on the latency.
            None leaves it out.

    Returns:
        The front, the best plan within all limits (None if no plan keeps them) and the baseline.

    Raises:
        BudgetError, SpaceError, ModelError, ObjectiveError, ExportError: If an argument cannot be
            used.
        SearchError: If the folder cannot be used, or three trials in a row fail.
    """
    clock = time.perf_counter()
    limit = None if budget is None else Budget.parse(budget)
    rise = None if max_rise is None else parse_rise(max_rise)
    deadline = math.inf if timeout is None else clock + parse_seconds(timeout)
    if isinstance(latency_budget, str):
        latency_budget = LatencyBudget.parse(latency_budget)
    if space is None:
        space = "size" if latency_budget is None else "balanced"
    chosen = space if isinstance(space, Space) else load_space(space)
    latency = chosen.latency or latency_budget is not None
    if trials is None:
        trials = _TRIALS if timeout is None else sys.maxsize
    _check_effort(trials, jobs, sampler, latency=latency)
    name = name or type(model).__name__
    if isinstance(recovery, str):
        recovery = RecoverySettings(RecoveryBudget.parse(recovery), seed=seed)
    if recovery is not None and chosen.pipeline:
        recovery = replace(recovery, pipeline=True)
    folder = SearchFolder(Path(out or Path("runs") / name))
    ModelWeights.of(model)  # refuses what cannot be compressed, before anything is written
    with folder.claimed():
        evaluator = Evaluator(model, task, limit, objectives, cache=folder.path, latency=latency)
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
            latency_budget=None if latency_budget is None else str(latency_budget),
            space=hashlib.sha256(chosen.model_dump_json().encode()).hexdigest(),
        )
        folder.adopt(settings)
        tune = partial(recover_best, folder, model, task, evaluator)
        fallback = None
        if recovery is None and latency_budget and rise is not None and timeout is not None:
            fallback = _fallback(timeout, seed)
        source = with_sensitivities(evaluator.source, model, task, folder.path / _SENSITIVITIES)
        searching = _Search(folder, settings, evaluator.of(Encoder(source)), chosen)
        return searching.run(Effort(trials, deadline, jobs), tune, recovery, fallback)


def _check_effort(trials: int, jobs: int, sampler: str, *, latency: bool) -> None:
    for name, count in (("trials", trials), ("jobs", jobs)):
        if count < 1:
            raise SearchError(f"`{name} >= 1` must hold, but got {count}")
    if latency and jobs > 1:
        raise SearchError("jobs side by side disturb each other's latency; use one job")
    if sampler not in get_args(SamplerName):
        known = ", ".join(get_args(SamplerName))
        raise SearchError(f"`sampler` must be one of {known}, but got '{sampler}'")


def _fallback(timeout: str, seed: int) -> RecoverySettings:
    """Return how to fine-tune where no opening will do: equal timeouts, equal settings."""
    seconds = max(_SHARE_OF_TUNING * parse_seconds(timeout), _LEAST_SECONDS)
    return RecoverySettings(RecoveryBudget(seconds=round(seconds)), seed=seed)


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
        self._seconds_before = sum(result.seconds for result in folder.trials())
        self._smallest: int | None = None
        self._study: Study | None = None

    def run(
        self,
        effort: Effort,
        tune: Callable[[TrialResult, RecoverySettings], None],
        recovery: RecoverySettings | None,
        fallback: RecoverySettings | None,
    ) -> SearchResult:
        """Make the trials, fine-tune and conclude.

        Args:
            effort: How much is tried.
            tune: Fine-tunes the plan of a trial.
            recovery: How to fine-tune the best plan, or None to leave it out.
            fallback: How to fine-tune the nearest plan where no opening keeps the limits, or None.
        """
        try:
            baseline = self._measure_baseline()
            self._limit_further(baseline)
            with shielded():
                self._study = self._open_study(effort.jobs)
                self._reconcile(self._study)
            trials = Trials(
                self._folder,
                self._settings,
                self._evaluator,
                self._space,
                self._study,
                self._tracker,
                baseline,
            )
            if self._is_begun(fallback):
                recovery = fallback
            elif effort.allows(self._study.n_finished):
                recovers, may_end = recovery is not None, fallback is not None
                if self._make(trials, effort, recovers=recovers, may_end=may_end):
                    recovery = fallback
            promising = self._promising(trials)
            if recovery is not None and promising is not None:
                tune(promising, recovery)
            result = self._conclude()
        except BaseException as error:
            with shielded():
                if self._study is not None:
                    self._reconcile(self._study)
                self._tracker.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise
        if result.front or result.recovered:
            self._show_links()
        return result

    def _make(self, trials: Trials, effort: Effort, *, recovers: bool, may_end: bool) -> bool:
        """Make the trials; return whether they ended early, since no opening keeps the limits."""
        guide = self._prepare(recovers=recovers)
        if guide is not None and may_end:
            trials.run(guide, effort.shortened(_SHARE_OF_OPENINGS), samples=False)
            if not any(result.feasible for result in trials.results):
                progress.say("no plan keeps the limits so far: fine-tuning the nearest")
                return True
        if guide is not None:
            trials.run(guide, effort)
        return False

    def _is_begun(self, recovery: RecoverySettings | None) -> bool:
        """Whether a fine-tuning was begun, perhaps by a call that was interrupted."""
        if recovery is None:
            return False
        return self._folder.recovered("recovered", recovery.label()).parent.exists()

    def _measure_baseline(self) -> float:
        """Return the metric of the uncompressed model, measured once."""
        if self._folder.baseline() is None:
            progress.say("measuring the uncompressed model")
            path = self._folder.artifact(None)
            self._folder.save_baseline(self._evaluator.baseline(path))
        baseline = self._folder.baseline()
        assert baseline is not None
        return baseline[self._settings.metric]

    def _limit_further(self, baseline: float) -> None:
        """Turn limits that are relative to the baseline into absolute ones, now it is known."""
        settings = self._settings
        bound = self._result().limits.get(LATENCY)
        if bound is not None:
            self._evaluator = self._evaluator.limited(LATENCY, Limit(bound))
        if settings.max_rise is not None:
            direction = settings.directions[settings.metric]
            limit = rise_limit(baseline, settings.max_rise, direction)
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

    def _reconcile(self, study: Study) -> None:
        """Bring study, folder and tracking to agree after an interruption at any point."""
        for number in study.unfinished():
            result = self._folder.trial(number)
            if result is not None:
                study.tell(result)
            else:
                study.abandon(number)
                shutil.rmtree(self._folder.artifact(number).parent, ignore_errors=True)
        self._tracker.reconcile(self._folder.trials(), self._folder.artifact)

    def _prepare(self, *, recovers: bool) -> Guide | None:
        """Plan the first trials; return None if no plan at all fits the budget."""
        encoder = self._evaluator.encoder
        progress.say("planning the first trials")
        max_rise = self._settings.max_rise
        rises = [] if max_rise is None else [max_rise]
        if max_rise is not None and recovers:
            rises.append(max_rise + REGAINED)
        kept = self._folder.path / f"openings{'-recovery' * (len(rises) > 1)}.json"
        guide = Guide(self._space, encoder, self._budget, rises, kept)
        if self._budget is None or any(self._fits(opening.plan) for opening in guide.known()):
            return guide
        progress.say("looking for the smallest plan of the search space")
        return guide if self._fits(smallest_plan(self._space, encoder)) else None

    def _fits(self, plan: CompressionPlan) -> bool:
        size = file_size(self._evaluator.encoder, plan)
        self._smallest = min(size, self._smallest or size)
        return self._budget is None or self._budget.excess(size) <= 0

    def _promising(self, trials: Trials) -> TrialResult | None:
        """Return the trial whose plan is worth fine-tuning, if any."""
        max_rise = self._settings.max_rise
        if max_rise is not None and self._settings.latency_budget is not None:
            # Trials were rejected beside slower ones, and may be the best of those with room.
            looked_at = [one for one in trials.results if trials.is_looked_at(one)]
            safe = [one for one in looked_at if not trials.is_slow(one, _MARGIN)]
            return trials.least_loss(safe or looked_at)
        if max_rise is not None:
            measured = [one for one in trials.results if trials.rise(one) < math.inf]
            if self._budget is not None:
                return min(measured, key=trials.rise, default=None)
            near = [one for one in measured if trials.rise(one) <= max_rise + REGAINED]
            return min(near, key=lambda result: result.size_bytes, default=None)
        result = self._result()
        best = result.best_of(result.front)
        found = (one for one in trials.results if best is not None and one.number == best.trial)
        return next(found, None)

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
        files += write_insight(result, self._folder.trials(), self._folder.path)
        with shielded():
            self._tracker.log_front(result, files)
            for scored in (*result.recovered, *result.controls):
                self._tracker.log_recovered(result, scored)
            self._tracker.end("FINISHED")
        return result

    def _result(self) -> SearchResult:
        seconds = self._seconds_before + time.perf_counter() - self._clock
        finished = 0 if self._study is None else self._study.n_finished
        without_file = max(finished - len(self._folder.trials()), 0)
        return self._folder.result(round(seconds, 1), self._smallest, without_file)


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
