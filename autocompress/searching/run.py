"""The search itself: one trial after the other, each durable before the next begins."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args

from torch import nn

from autocompress import progress
from autocompress.errors import AutocompressError, PlanError, SearchError
from autocompress.insight import write_insight
from autocompress.objectives import Budget, Objective, format_bytes
from autocompress.plan import CompressionPlan
from autocompress.recovery import RecoveryBudget, RecoverySettings
from autocompress.report import write_front
from autocompress.results import SearchResult, TrialResult
from autocompress.searching.folder import SamplerName, SearchFolder, Settings, write_json
from autocompress.searching.parameters import ask_plan, smallest_plan
from autocompress.searching.recovering import recover_best
from autocompress.searching.shield import shielded
from autocompress.searching.space import Space, load_space
from autocompress.searching.study import Study
from autocompress.searching.warm import Opening, file_size, openings
from autocompress.task import Task
from autocompress.tracking import Tracker
from autocompress.trial import Evaluator
from autocompress.weights import ModelWeights

_FAILURES_IN_A_ROW = 3


def search(
    model: nn.Module,
    task: Task,
    *,
    budget: str | int | Budget | None = None,
    objectives: Sequence[Objective] = (),
    space: str | Path | Space = "default",
    trials: int = 40,
    out: str | Path | None = None,
    seed: int = 0,
    sampler: SamplerName = "tpe",
    name: str | None = None,
    recovery: str | RecoverySettings | None = None,
) -> SearchResult:
    """Search for the best ways to store a model's weights.

    Minimises the size of the artifact's file and optimises the task's metric, and any further
    objectives, on validation data. The same call again continues a search that was interrupted,
    or that is to have more trials. Everything it finds lies in `out`.

    Args:
        model: A module made of Embedding, Linear, LSTM, GRU and RNN weights, among others.
        task: Says what a good model is.
        budget: Limit on the size of the file, such as "2MB", or a number of bytes.
        objectives: Further numbers for the front.
        space: Name of a search space, a TOML file, or a space.
        trials: How many trials the search is to have in all.
        out: The folder; by default `runs/<name>`.
        seed: Seed of the sampler.
        sampler: "tpe" or "nsga2".
        name: What to call the model; by default its class.
        recovery: How to fine-tune the best plan after the search, such as "10m"; the
            uncompressed model is then fine-tuned as well, as a control. None leaves it out.

    Returns:
        The front, the best plan in the budget (None if no plan fits it) and the baseline.

    Raises:
        BudgetError, SpaceError, ModelError, ObjectiveError: If an argument cannot be used.
        SearchError: If the folder cannot be used, or three trials in a row fail.
    """
    limit = None if budget is None else Budget.parse(budget)
    chosen = space if isinstance(space, Space) else load_space(space)
    if trials < 1:
        raise SearchError(f"`trials >= 1` must hold, but got {trials}")
    if sampler not in get_args(SamplerName):
        raise SearchError(f"`sampler` must be 'tpe' or 'nsga2', but got '{sampler}'")
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
        return _Search(folder, settings, evaluator, chosen, limit).run(trials, fine_tune)


class _Search:
    """One call of `search`: the parts, and the order in which they do their work."""

    def __init__(
        self,
        folder: SearchFolder,
        settings: Settings,
        evaluator: Evaluator,
        space: Space,
        budget: Budget | None,
    ) -> None:
        self._clock = time.perf_counter()
        self._folder, self._settings, self._evaluator = folder, settings, evaluator
        self._space, self._budget = space, budget
        journal = folder.path / "optuna.journal"
        with shielded():
            self._study = Study(
                journal, settings.directions, settings.sampler, settings.seed, budget
            )
            self._tracker = Tracker(folder.path, settings.name, _tracked(settings))
        self._seconds_before = sum(result.seconds for result in folder.trials())
        self._smallest: int | None = None

    def run(
        self, trials: int, fine_tune: Callable[[TrialResult], None] | None = None
    ) -> SearchResult:
        try:
            with shielded():
                self._reconcile()
            if self._folder.baseline() is None:
                progress.say("measuring the uncompressed model")
                path = self._folder.artifact(None)
                self._folder.save_baseline(self._evaluator.baseline(path))
            if self._study.n_finished < trials:
                first = self._prepare()
                if first is not None:
                    self._try_plans(first, trials)
            best = self._result().best
            if fine_tune is not None and best is not None and best.trial is not None:
                found = self._folder.trial(best.trial)
                assert found is not None
                fine_tune(found)
            result = self._conclude()
        except BaseException as error:
            with shielded():
                self._reconcile()
                self._tracker.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise
        if result.front:
            self._show_links()
        return result

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
        self._tracker.reconcile(self._folder.trials(), self._folder.artifact)

    def _prepare(self) -> Sequence[Opening] | None:
        """Plan the first trials; return None if no plan at all fits the budget."""
        source = self._evaluator.source
        progress.say("planning the first trials")
        first = openings(self._space, source, self._budget)
        if self._budget is None:
            return first
        # The smallest files tend to come last; one that fits is enough.
        for opening in reversed(first):
            if self._fits(opening.plan):
                return first
        progress.say("looking for the smallest plan of the search space")
        return first if self._fits(smallest_plan(self._space, source)) else None

    def _fits(self, plan: CompressionPlan) -> bool:
        size = file_size(self._evaluator.source, plan)
        self._smallest = min(size, self._smallest or size)
        return self._budget is None or self._budget.excess(size) <= 0

    def _try_plans(self, first: Sequence[Opening], trials: int) -> None:
        failures: list[AutocompressError] = []
        with progress.bar("trials", trials) as bar:
            bar.advance(self._study.n_finished)
            while self._study.n_finished < trials:
                with shielded():
                    asking = self._study.ask([opening.answers for opening in first])
                try:
                    with shielded():
                        plan = ask_plan(self._space, self._evaluator.source, asking)
                    path = self._folder.artifact(asking.number)
                    result = self._evaluator.run(asking.number, plan, path)
                except AutocompressError as error:
                    # A plan that does not fit says nothing about the plans to come.
                    failures += [] if isinstance(error, PlanError) else [error]
                    self._study.fail(asking.number, error)
                    progress.say(f"trial {asking.number} failed: {error}")
                    if len(failures) == _FAILURES_IN_A_ROW:
                        raise SearchError(f"three trials in a row failed: {error}") from error
                    bar.advance()
                else:
                    failures.clear()
                    self._keep(result)
                    bar.advance(note=self._note(result))

    def _keep(self, result: TrialResult) -> None:
        """Make a result durable in the folder first: from there, the rest can be restored."""
        with shielded():
            self._folder.save_trial(result)
            self._study.tell(result)
            self._tracker.log_trial(result, self._folder.artifact(result.number))

    def _note(self, result: TrialResult) -> str:
        size = format_bytes(result.size_bytes)
        if not result.feasible:
            return f"{size}, above the budget"
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
        files += write_insight(result, self._folder.trials(), self._folder.path)
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
        "objectives": ", ".join(settings.directions),
        "sampler": settings.sampler,
        "seed": str(settings.seed),
        "model_sha256": settings.model,
    }
