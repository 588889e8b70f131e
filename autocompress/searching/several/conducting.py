"""A search of several models under one budget, from the first look at each to the joint front."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from autocompress.errors import SearchError
from autocompress.knowledge.guarded import GuardedTask, guarded
from autocompress.knowledge.task import Task
from autocompress.outcome.budgets import RelativeBudget
from autocompress.outcome.limits import Budget
from autocompress.outcome.objectives import directions_of
from autocompress.outcome.results import SearchResult
from autocompress.searching.describing import settings_of
from autocompress.searching.effort import Effort
from autocompress.searching.record import check_server, given_up_of, open_record
from autocompress.searching.request import Request
from autocompress.searching.several.asking import Asked, asked_of, check
from autocompress.searching.several.concluding import JointConclusion
from autocompress.searching.several.joined import JoinedFolder, Seen, lacks_something
from autocompress.searching.several.models import Candidate, look_at, reference_of, sha256_of
from autocompress.searching.several.outlook import hopeless, of_another, trust_in
from autocompress.searching.several.recovering import to_fine_tune
from autocompress.searching.several.reference import measure_reference
from autocompress.searching.several.schedule import (
    Schedule,
    Turn,
    next_turn,
    shares_of,
)
from autocompress.searching.several.session import Session, Sessions
from autocompress.searching.summary import summary
from autocompress.support import progress
from autocompress.support.signals import interrupts_held
from autocompress.tracking import AnyTracker
from autocompress.trial.measuring import objectives_of


def conduct_several(
    candidates: Sequence[Candidate],
    task: Task,
    request: Request,
    budget: Budget | RelativeBudget | None,
    path: Path,
) -> SearchResult:
    """Search several models, or go on with such a search that lies in a folder.

    Args:
        candidates: The models, by names that differ.
        task: Says what a good model is, of all of them.
        request: What is asked for, without the budget; its name is that of the search.
        budget: On the size of the file, or None.
        path: The folder.

    Raises:
        The errors of `begun`, and:
        SearchError: If something is asked for that several models have not in common.
        BudgetError: If no model can keep the budget.
    """
    check(request)
    task, folder = guarded(task), JoinedFolder(path)
    with folder.claimed():
        start = time.perf_counter()
        folder.heal()
        check_server(folder, request.tracking_uri)
        asked = _adopted(candidates, task, request, budget, folder)
        before = sum(trial.seconds for trial in folder.trials())
        by_name = {one.name: one for one in candidates}
        name = folder.reference
        about = measure_reference(by_name[name], task, asked.own[name], folder)
        with interrupts_held():
            tracker = open_record(folder, about, request.tracking_uri)

        def summarize() -> SearchResult:
            return summary(folder, round(before + time.perf_counter() - start, 1))

        try:
            with Sessions(candidates, task, asked.own, folder, tracker) as sessions:
                joint = _Joint(asked, task, folder, sessions)
                joint.mend()
                with interrupts_held():
                    tracker.reconcile(folder.trials(), folder.artifact, given_up_of(folder))
                joint.run()
            ending = JointConclusion(folder, candidates, task, asked.whole, about)
            return ending.reached(summarize, tracker)
        except BaseException as error:
            _break_off(tracker, error)
            raise


def _adopted(
    candidates: Sequence[Candidate],
    task: GuardedTask,
    request: Request,
    budget: Budget | RelativeBudget | None,
    folder: JoinedFolder,
) -> Asked:
    """Look at the models, say what is asked of each, and make sure that the folder is of that."""
    seen = look_at(candidates, task, folder.seen)
    asked = asked_of(request, budget, seen, task)
    directions = directions_of(objectives_of(task, request.objectives))
    settings = settings_of(sha256_of(seen), task, asked.whole, directions)
    folder.check(settings)
    folder.adopt(settings)
    if seen != folder.seen:
        folder.save_seen(reference_of(seen, task).name, seen)
    return asked


def _break_off(tracker: AnyTracker, error: BaseException) -> None:
    """Say in MLflow that the search has ended, if the disk still takes it."""
    if not isinstance(error, OSError):
        with suppress(SearchError, OSError), interrupts_held():
            tracker.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")


class _Joint:
    """Gives out trials until there are enough, or time is up."""

    def __init__(
        self, asked: Asked, task: GuardedTask, folder: JoinedFolder, sessions: Sessions
    ) -> None:
        self._asked, self._task, self._folder, self._sessions = asked, task, folder, sessions
        self._effort = asked.whole.effort
        self._schedule = Schedule.of(folder.path)
        for name, reason in asked.left_out.items():
            if name not in self._schedule.left_out:
                self._leave_out(name, reason)

    def mend(self) -> None:
        """Have files made anew that are lost."""
        for seen, member in zip(self._folder.seen, self._folder.members, strict=True):
            if lacks_something(member):
                self._sessions.at(seen.name)

    def run(self) -> None:
        """Make the trials, fine-tune what is asked for, and find at least something."""
        while (turn := self._next()) is not None:
            self._schedule = replace(self._schedule, turn=turn).save(self._folder.path)
            if not self._take(turn):
                break
        result, asked = self._summary(), self._asked.whole.fine_tunings
        if asked:
            name = to_fine_tune(result, self._folder)
            if name is None:
                progress.say("no plan comes near enough to the limits: nothing is fine-tuned")
            else:
                self._sessions.at(name).course.fine_tune(asked)
                result = self._summary()
        if result.best is None and result.max_rise is not None:
            self._sessions.at(self._folder.reference).course.last_resort()

    def _summary(self) -> SearchResult:
        return summary(self._folder, 0.0)

    def _ended(self) -> dict[str, int]:
        """Return how many trials of each model have ended, the smallest model first."""
        folders = zip(self._folder.seen, self._folder.members, strict=True)
        ordered = sorted(folders, key=lambda pair: (pair[0].n_weights, pair[0].name))
        return {seen.name: member.ledger.n_trials() for seen, member in ordered}

    def _next(self) -> Turn | None:
        """Return the next turn: what was under way goes on."""
        while True:
            ended = self._ended()
            if not self._effort.allows(sum(ended.values())):
                return None
            result = self._summary()
            turn = self._schedule.turn
            if turn is not None and turn.until > ended[turn.model]:
                return turn
            if turn is not None:  # a killed process has not said that it was through
                self._schedule = self._schedule.done().save(self._folder.path)
            shares = shares_of(result, list(ended))
            turn = next_turn(self._schedule, ended, self._effort.trials, shares)
            if turn is None or not self._is_hopeless_at_sight(turn.model, ended, result):
                return turn

    def _is_hopeless_at_sight(
        self, name: str, ended: dict[str, int], result: SearchResult
    ) -> bool:
        """Whether a model has no chance by what is known of the largest one that was searched."""
        if ended[name] or name in self._schedule.opened:
            return False
        known = {
            seen: curve
            for seen, member in zip(self._folder.seen, self._folder.members, strict=True)
            if ended[seen.name] and (curve := member.curve()) is not None
        }
        if not known:
            return False
        other = max(known, key=lambda seen: seen.n_weights)
        seen = self._seen(name)
        if other.n_weights > seen.n_weights:
            return False  # of two nets, the smaller one loses more
        curve = of_another(known[other], other, seen)
        reason = hopeless(result, seen, curve, self._trust(other, result))
        if reason is not None:
            self._leave_out(name, f"by what is known of {other.name}, {reason}")
        return reason is not None

    def _trust(self, seen: Seen, result: SearchResult) -> float:
        trials = self._folder.member(seen.name).trials()
        return trust_in(trials, seen.score, result)

    def _seen(self, name: str) -> Seen:
        return next(one for one in self._folder.seen if one.name == name)

    def _take(self, turn: Turn) -> bool:
        """Make the trials of a turn; return whether there is time for others."""
        ended, name = self._ended(), turn.model
        before, total = ended[name], sum(ended.values())
        progress.say(f"{name}: trials {total + 1} to {total + turn.until - before} of all")
        session = self._sessions.at(name)
        if session.guide is None:
            self._leave_out(name, "no plan of the search space fits the budget")
            return True
        curve = self._folder.member(name).curve()
        if not before and curve is not None:
            reason = hopeless(self._summary(), self._seen(name), curve)
            if reason is not None:
                self._leave_out(name, reason)
                return True
        more = self._make(session, turn)
        after, path = self._ended()[name], self._folder.path
        if not more:
            self._leave_out(name, "every plan of its search space was tried")
        elif after < turn.until and time.perf_counter() >= self._effort.deadline:
            return False
        elif after == before:
            self._leave_out(name, "it makes no further trials")
        else:
            self._schedule = self._schedule.done().save(path)
        return True

    def _make(self, session: Session, turn: Turn) -> bool:
        """Make the trials; the first ones of a model end when it has had its share of the time."""
        course, guide = session.course, session.guide
        assert guide is not None
        whole = Effort(turn.until, self._effort.deadline, self._effort.jobs)
        if turn.model in self._schedule.opened:
            return course.make(guide, whole)
        waiting = [
            name
            for name in self._ended()
            if name not in self._schedule.left_out and name not in self._schedule.opened
        ]
        ends = whole.shortened(1 / (len(waiting) + 1)).deadline
        first = min(turn.until, self._ended()[turn.model] + 1)  # however long planning has taken
        more = course.make(guide, whole._replace(trials=first))
        return more and course.make(guide, whole._replace(deadline=ends))

    def _leave_out(self, name: str, reason: str) -> None:
        progress.say(f"{name} is left out: {reason}")
        self._schedule = self._schedule.without(name, reason).save(self._folder.path)
