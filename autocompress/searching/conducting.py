"""A search from the first look at the model to the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import NamedTuple

from torch import nn

from autocompress.encoding.encoder import Encoder
from autocompress.errors import TaskError
from autocompress.knowledge.description import understood
from autocompress.knowledge.guarded import GuardedTask, guarded
from autocompress.knowledge.kept import Kept
from autocompress.knowledge.overview import overview
from autocompress.knowledge.sensitivity import with_sensitivities
from autocompress.knowledge.source import Source
from autocompress.knowledge.task import Task
from autocompress.knowledge.teaching import check_teacher, follows_teacher
from autocompress.knowledge.weights import ModelWeights
from autocompress.outcome.about import About
from autocompress.outcome.limits import resolved
from autocompress.outcome.objectives import directions_of
from autocompress.outcome.results import SearchResult
from autocompress.searching.beginning import (
    FirstLook,
    check_rise,
    first_look,
    has_losses,
    measured_baseline,
)
from autocompress.searching.course import Course, Desk
from autocompress.searching.describing import describe, settings_of
from autocompress.searching.executors import place_of
from autocompress.searching.folder import WEIGHTS, SearchFolder
from autocompress.searching.jobs import Bench
from autocompress.searching.judge import Judge
from autocompress.searching.record import check_server, open_record
from autocompress.searching.request import Request
from autocompress.searching.restoring import Restorer
from autocompress.searching.settings import Settings
from autocompress.support import progress
from autocompress.support.files import write_json
from autocompress.support.signals import interrupts_held
from autocompress.tracking import AnyTracker
from autocompress.trial.evaluator import Evaluator
from autocompress.trial.looks import Hurdle
from autocompress.trial.measuring import engine_of, objectives_of


class Beside(NamedTuple):
    """What a search is told that is one of several, for models under one budget.

    Attributes:
        look: What the task says of the model.
        tracker: Writes what is found.
        rivals: Trials of other models that a plan must not be clearly worse than.
    """

    look: FirstLook
    tracker: AnyTracker
    rivals: tuple[Hurdle, ...] = ()


def conduct(model: nn.Module, task: Task, request: Request, folder: SearchFolder) -> SearchResult:
    """Search, or go on with a search that lies in the folder.

    Args:
        model: The user's model; it is not changed.
        task: Says what a good model is.
        request: What is asked for.
        folder: Where everything lies.

    Raises:
        The errors of `begun`.
    """
    with begun(model, task, request, folder) as course:
        return course.run()


@contextmanager
def begun(
    model: nn.Module,
    task: Task,
    request: Request,
    folder: SearchFolder,
    beside: Beside | None = None,
) -> Iterator[Course]:
    """Bring a search to where trials can be made; what goes wrong after that breaks it off.

    Args:
        model: The user's model; it is not changed.
        task: Says what a good model is.
        request: What is asked for.
        folder: Where everything lies.
        beside: Of a search that is one of several.

    Raises:
        ModelError, ExportError: If the model cannot be searched.
        TaskError, ObjectiveError: If the task or an objective raises, or gives what it must not.
        BudgetError: If a limit on the rise is a share of a metric that is 0.
        SearchError: If folder or cluster cannot be used, or several trials in a row fail.
    """
    task = guarded(task)
    objectives = objectives_of(task, request.objectives, latency=request.is_timed)
    digest = ModelWeights.of(model).sha256
    settings = settings_of(digest, task, request, directions_of(objectives))
    with ExitStack() as stack:
        stack.enter_context(folder.claimed())
        folder.check(settings)
        place = stack.enter_context(place_of(request.cluster))
        folder.heal()
        if beside is None:
            check_server(folder, request.tracking_uri)
        given = beside.look if beside else None
        look = first_look(model, task, folder, settings.metric, given)
        if look is not None:
            check_rise(settings, look.score)
        if look is not None or request.fine_tunings or request.fallback:
            request = _with_losses(request, model, task)
        bench, baseline = _prepared(model, task, request, settings, folder, look)
        about = describe(request, model, task, folder)
        judge = Judge(settings, resolved(settings.asked, baseline), baseline)
        judge.rivals = beside.rivals if beside else ()
        bench = replace(bench, evaluator=replace(bench.evaluator, limits=judge.limits))
        tracker = beside.tracker if beside else _record(folder, about, request)
        course = Course(request, judge, bench, Desk(folder, about, tracker), place)
        with course.breaking_off():
            course.open()
            yield course


def _record(folder: SearchFolder, about: About, request: Request) -> AnyTracker:
    with interrupts_held():
        return open_record(folder, about, request.tracking_uri)


def _prepared(
    model: nn.Module,
    task: GuardedTask,
    request: Request,
    settings: Settings,
    folder: SearchFolder,
    look: FirstLook | None,
) -> tuple[Bench, Mapping[str, float]]:
    """Learn what is to be known before any plan; return that, and the baseline's numbers."""
    objectives = objectives_of(task, request.objectives, latency=request.is_timed)
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
    return Bench(model, replace(evaluator, encoder=Encoder(source)), request.teacher), baseline


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
