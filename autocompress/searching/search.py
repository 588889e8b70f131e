"""The search as a user calls it: arguments are understood, and refused before any work."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import nn

from autocompress.encoding.budgets import budget_in_bytes
from autocompress.errors import ModelError, SpaceError
from autocompress.knowledge.guarded import guarded
from autocompress.knowledge.task import Task
from autocompress.knowledge.teaching import teacher_key
from autocompress.knowledge.weights import ModelWeights
from autocompress.layers.copies import on_device, plain
from autocompress.outcome.budgets import RelativeBudget, parse_budget
from autocompress.outcome.limits import (
    Budget,
    Limit,
    Rise,
    parse_latency,
    parse_rise,
    parse_seconds,
    written_rise,
)
from autocompress.outcome.names import check_names
from autocompress.outcome.objectives import Objective
from autocompress.recovery import RecoverySettings
from autocompress.searching.conducting import conduct
from autocompress.searching.effort import Effort
from autocompress.searching.folder import SearchFolder
from autocompress.searching.opened import OpenedSearch
from autocompress.searching.request import (
    Request,
    checked_objectives,
    fine_tuning,
    instead_of_samples,
    label_free_tuning,
)
from autocompress.searching.settings import SamplerName
from autocompress.searching.several.conducting import conduct_several
from autocompress.searching.several.models import Candidate, unique_names
from autocompress.searching.space.language import Space, load_space
from autocompress.support.device import device_of
from autocompress.support.process import process_kept
from autocompress.tracking.homes import chosen_uri

_TRIALS = 40


@process_kept()
def search(
    model: nn.Module | Sequence[nn.Module | Candidate],
    task: Task,
    *,
    budget: str | int | Budget | RelativeBudget | None = None,
    max_rise: Rise | Limit | None = None,
    latency_budget: str | Limit | None = None,
    objectives: Sequence[Objective] = (),
    space: str | Path | Space | None = None,
    trials: int | None = None,
    timeout: str | None = None,
    jobs: int = 1,
    cluster: str | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    sampler: SamplerName = "tpe",
    name: str | Sequence[str] | None = None,
    recovery: str | RecoverySettings | None = None,
    tracking_uri: str | None = None,
    device: str | torch.device | None = None,
    recovery_members: int = 1,
    tuning: str | RecoverySettings | None = None,
    teacher: nn.Module | None = None,
) -> OpenedSearch:
    """Search for the best ways to store a model's weights.

    Minimises the size of the artifact's file and optimises the task's metric, and any further
    objectives, on validation data. Limits combine freely: of the trials that keep all of them,
    the best is the one with the best metric, or with a limit on its rise the smallest. The same
    call again continues a search that was interrupted, or that is to have more trials. Everything
    it finds lies in `out`.

    Of several models, the trials go where the front over all of them is: each model begins with
    a few, unless predictions say that it cannot reach the front, and further ones are given out
    in proportion to what the models bring to the front near the limits. Relative limits, times
    smaller and changes of the metric refer to the uncompressed model with the best metric.

    Args:
        model: A module made of Embedding, Linear, LSTM, GRU and RNN weights, among others; or a
            list of such modules, of which each is compressed, and the best file of all is sought.
        task: Says what a good model is; of several models, it is the task of all.
        budget: Limit on the size of the file, such as "2MB", or a number of bytes; "10x" is a
            tenth of what the uncompressed model takes in single precision, "3bpw" three bits of
            the file for each weight.
        max_rise: How much worse the metric may become: a share of what it is for the
            uncompressed model, such as "1%" or 0.01, or in the metric's own unit "+0.02", which
            may be named, as in "0.5ppl". Of a metric that is maximised it is a drop. Where the
            metric is 0, only the latter will do.
        latency_budget: Limit on the time for one input in the engine of the space, by default
            ONNX Runtime: such as "0.25x" of what the uncompressed model takes there, or "0.1ms".
            Latency is then an objective, and all scores are those of that engine. Needs one job.
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
        cluster: Instead of `jobs`, the address of a Dask scheduler ("tcp://host:8786"), a
            scheduler file, or "local:4" for four worker processes on this machine. Each of its
            workers does one trial or fine-tuning at a time; with one worker, plans and bytes are
            those of one job. Needs `pip install 'autocompress[cluster]'`.
        out: The folder; by default `runs/<name>`.
        seed: Seed of the sampler.
        sampler: "tpe", "nsga2" or "random".
        name: What to call the model, of several a list; by default its class.
        recovery: How to fine-tune the best plan after the search, such as "10m"; the
            uncompressed model is then fine-tuned as well, as a control. With a limit on the
            rise it is the smallest plan whose rise is at most ten points above it, since
            fine-tuning regains that and more; with a limit on size or latency besides, the plan
            that loses least, if possible of those that stay 10 % below the limit on the latency.
            None leaves it out.
        tracking_uri: Address of an MLflow server on which the trials are logged, by default the
            one in `MLFLOW_TRACKING_URI`, or without that a database in `out`. What a server
            misses while it is away is logged when it is back.
        device: Where the model is calibrated, evaluated and fine-tuned: "cpu", "cuda", "cuda:1",
            "mps", or "auto", which takes a GPU where there is one. By default that is where it
            lies. Tasks must bring their tensors to where the model is that they are given.
        recovery_members: How many plans are fine-tuned: beside the promising one, members of the
            front that lose at most ten points more than it does, spread over the sizes and each
            kept at its own, so that the front of fine-tuned files is shown too. `jobs`, or the
            workers of a cluster, do them side by side; there is one control for all.
        tuning: How to tune the best plan without labels, towards the predictions of the
            original model alone, such as "2m" or "400steps": the same plans as with `recovery`,
            which may be asked for as well. What comes of it is told apart from both other tracks.
        teacher: A larger model with the outputs of `model`, whose predictions are the targets of
            `tuning`, and of `recovery` besides the labels (half of the loss, unless its settings
            say otherwise), instead of those of `model`. It is not changed.

    Returns:
        The front, the best plan within all limits (None if no plan keeps them) and the baseline.

    Raises:
        BudgetError, SpaceError, DeviceError, ModelError, TaskError, ObjectiveError, ExportError:
            If an argument cannot be used. What the code of task or objective raised is the
            `__cause__`.
        SearchError: If the folder, the server or the cluster cannot be used, or three trials in a
            row fail.
    """
    start = time.perf_counter()
    limit = None if latency_budget is None else parse_latency(latency_budget)
    asked = None if budget is None else parse_budget(budget)
    if trials is None:
        trials = _TRIALS if timeout is None else sys.maxsize
    deadline = math.inf if timeout is None else start + parse_seconds(timeout)
    models, names = _named(model, name)
    key = None if teacher is None else teacher_key(teacher)
    tuned, recovered = label_free_tuning(tuning, seed, key), fine_tuning(recovery, seed, key)
    is_free = tuned is None and recovered is None
    may_end = is_free and limit is not None and max_rise is not None
    task, own = guarded(task), checked_objectives(objectives)
    check_names((objective.name for objective in own), task.metric)
    request = Request(
        name="+".join(names),
        space=_space(space, is_timed=limit is not None),
        effort=Effort(trials, deadline, jobs),
        max_rise=None if max_rise is None else written_rise(parse_rise(max_rise, task.metric)),
        latency=limit,
        objectives=own,
        sampler=sampler,
        seed=seed,
        recovery=recovered,
        tuning=tuned,
        teacher=teacher,
        fallback=instead_of_samples(timeout, seed) if timeout and may_end else None,
        timeout=None if timeout is None else parse_seconds(timeout),
        tracking_uri=chosen_uri(tracking_uri),
        cluster=cluster,
        recovery_members=recovery_members,
    )
    # Absolute, since a user's own code may change the directory.
    folder = Path(out or Path("runs") / request.name).absolute()
    candidates = [_candidate(*pair, device) for pair in zip(names, models, strict=True)]
    if len(candidates) > 1:
        if teacher is not None:
            request = replace(request, teacher=on_device(plain(teacher), device))
        return OpenedSearch.of(conduct_several(candidates, task, request, asked, folder), folder)
    only = candidates[0].load()
    if teacher is not None:
        request = replace(request, teacher=on_device(plain(teacher), device_of(only)))
    if asked is not None:
        request = replace(request, budget_bytes=budget_in_bytes(asked, only, task))
    return OpenedSearch.of(conduct(only, task, request, SearchFolder(folder)), folder)


def _named(
    model: nn.Module | Sequence[nn.Module | Candidate], name: str | Sequence[str] | None
) -> tuple[Sequence[nn.Module | Candidate], list[str]]:
    """Return the models, and what to call them.

    Raises:
        ModelError: If there are none, or not as many names.
    """
    if not isinstance(model, list | tuple):
        if not isinstance(name, str | None):
            raise ModelError(f"`name` of one model must be a text, but got {name!r}")
        return [cast(nn.Module, model)], [name or type(model).__name__]
    if name is None:
        name = [one.name if isinstance(one, Candidate) else type(one).__name__ for one in model]
    given = [name] if isinstance(name, str) else name
    if not model or len(given) != len(model):
        raise ModelError(
            f"several models need as many names, but there are {len(model)} models and "
            f"{len(given)} names; give `name` a list with one for each"
        )
    return model, unique_names(given)


def _candidate(
    name: str, model: nn.Module | Candidate, device: str | torch.device | None
) -> Candidate:
    """Return a model that is put where it is to run when it is needed."""

    def load() -> nn.Module:
        found = model.load() if isinstance(model, Candidate) else model
        ModelWeights.of(found)  # refuses what cannot be compressed, before anything is written
        return on_device(plain(found), device)

    return Candidate(name, load)


def _space(space: str | Path | Space | None, *, is_timed: bool) -> Space:
    if space is None:
        space = "balanced" if is_timed else "size"
    if not isinstance(space, str | Path | Space):
        raise SpaceError(
            "`space` must be the name of a search space, a file or a `Space`, but got an object "
            f"of type {type(space).__name__}"
        )
    return space if isinstance(space, Space) else load_space(space)
