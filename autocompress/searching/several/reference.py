"""The model that all relative numbers refer to, stored and reloaded before any other work."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from autocompress.encoding.budgets import blank_source
from autocompress.encoding.encoder import Encoder
from autocompress.knowledge.guarded import GuardedTask
from autocompress.knowledge.weights import ModelWeights
from autocompress.outcome.about import About
from autocompress.outcome.objectives import directions_of
from autocompress.searching.beginning import FirstLook, measured_baseline
from autocompress.searching.describing import describe, settings_of
from autocompress.searching.folder import SearchFolder
from autocompress.searching.request import Request
from autocompress.searching.restoring import Restorer
from autocompress.searching.several.joined import JoinedFolder
from autocompress.searching.several.models import Candidate
from autocompress.support import progress
from autocompress.support.memory import give_back
from autocompress.trial.evaluator import Evaluator
from autocompress.trial.measuring import engine_of, objectives_of


def blank_evaluator(model: nn.Module, task: GuardedTask, request: Request) -> Evaluator:
    """Return what measures files of a model, without anything having been learnt of it."""
    encoder = Encoder(blank_source(model, task))
    objectives = objectives_of(task, request.objectives)
    return Evaluator(encoder, engine_of(request.engine, model, encoder), task, objectives)


def measure_reference(
    candidate: Candidate, task: GuardedTask, request: Request, folder: JoinedFolder
) -> About:
    """Measure the reference, stored and reloaded, and describe the search.

    Args:
        candidate: The reference.
        task: Says what a good model is.
        request: What is asked of its own search.
        folder: Of the search of all models.

    Raises:
        TaskError, ModelError: If its metric is not that of the model which the user handed in.
    """
    seen = folder.seen[folder.place]
    progress.say(f"relative numbers are those of {seen.name}, whose {task.metric} is the best")
    model = candidate.load()
    own = folder.member(seen.name)
    _measure(model, task, request, own, FirstLook(seen.score, seen.batches))
    about = describe(request, model, task, folder)
    if about.serving is not None and "factory" in about.serving.settings:
        about = replace(about, serving=None, unserved="the models have no factory in common")
    del model
    give_back()
    return about


def _measure(
    model: nn.Module, task: GuardedTask, request: Request, folder: SearchFolder, look: FirstLook
) -> None:
    directions = directions_of(objectives_of(task, request.objectives))
    settings = settings_of(ModelWeights.of(model).sha256, task, request, directions)
    with folder.claimed():
        folder.check(settings)
        if not task.identifies_data:
            look.compare(folder, task.metric)
        folder.adopt(settings)
        evaluator = blank_evaluator(model, task, request)
        Restorer(folder, request.space, evaluator).restore_baseline()
        measured_baseline(evaluator, folder, model, look)
