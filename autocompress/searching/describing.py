"""What is told of a search to those who browse it; kept in its folder for MLflow's record."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from torch import nn

from autocompress.knowledge.guarded import GuardedTask
from autocompress.knowledge.serving import service_of
from autocompress.knowledge.task import Task
from autocompress.outcome.about import ABOUT, About
from autocompress.outcome.metric import Direction
from autocompress.searching.folder import SearchFolder
from autocompress.searching.request import Request
from autocompress.searching.settings import LAYOUT, Settings
from autocompress.searching.space.language import Space, load_space, space_names
from autocompress.support.files import write_json


def settings_of(
    sha256: str, task: Task, request: Request, directions: Mapping[str, Direction]
) -> Settings:
    """Say what a search is about, by which it is told from others.

    Args:
        sha256: Hash of the model's weights.
        task: Knows the data.
        request: What is asked for.
        directions: By objective name, whether less or more of it is better.
    """
    return Settings(
        name=request.name,
        metric=task.metric,
        directions=dict(directions),
        budget_bytes=request.budget_bytes,
        max_rise=request.max_rise,
        limits={one.name: one.limit for one in request.objectives if one.limit is not None},
        sampler=request.sampler,
        seed=request.seed,
        model=sha256,
        data=task.fingerprint(),
        latency_budget=None if request.latency is None else str(request.latency),
        space=request.space_sha256,
        layout=LAYOUT,
    )


def describe(request: Request, model: nn.Module, task: GuardedTask, folder: SearchFolder) -> About:
    """Describe a search, and keep the description in its folder.

    Raises:
        TaskError: If the task raises an exception.
    """
    data, service = task.describe_data(), service_of(model, task)
    params = {"space": _name_of(request.space)}
    if request.cluster is None:
        params["jobs"] = str(request.effort.jobs)
    else:
        params["cluster"] = request.cluster
    if data is not None:
        params["data"] = data.name
    if request.effort.trials < sys.maxsize:
        params["trials"] = str(request.effort.trials)
    if request.timeout is not None:
        params["timeout"] = f"{request.timeout:g} s"
    for name, settings in (("tune", request.tuning), ("recover", request.recovery)):
        if settings is not None:
            params[name] = settings.label()
    if request.is_timed or request.space.engine:
        params["engine"] = request.engine
    params["autocompress"] = _version()
    about = About(params, data, *service)
    write_json(folder.path / ABOUT, about.to_json())
    return about


def _name_of(space: Space) -> str:
    shipped = (name for name in space_names() if load_space(name) == space)
    return next(shipped, "of its own")


def _version() -> str:
    try:
        return version("autocompress")
    except PackageNotFoundError:
        return "of a source tree"
