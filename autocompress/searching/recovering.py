"""After a search: tune promising plans, and beside them a control, the uncompressed model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autocompress.encoding.encoder import uncompressed_plan
from autocompress.errors import AutocompressError
from autocompress.knowledge.source import Source
from autocompress.outcome.limits import Budget, Limit, format_bytes
from autocompress.outcome.names import LATENCY, SIZE
from autocompress.outcome.results import TrialResult
from autocompress.outcome.tracks import DONE, METHOD, Track
from autocompress.plan import CompressionPlan
from autocompress.recovery import RecoverySettings, clean_up
from autocompress.searching.executors import Executor
from autocompress.searching.folder import CONTROL, TRIAL, SearchFolder
from autocompress.searching.jobs import RecoveryJob
from autocompress.support import progress
from autocompress.support.files import write_json

_DOING: Mapping[Track, str] = {"tuned": "tuning without labels", "recovered": "fine-tuning"}


def recovery_jobs(
    folder: SearchFolder,
    source: Source,
    metric: str,
    limits: Mapping[str, Limit],
    members: Sequence[TrialResult],
    settings: RecoverySettings,
) -> dict[str, RecoveryJob]:
    """Return the fine-tunings of plans and that of their control, by their names.

    The control tells apart what recovery regains from what any further training of the model
    would gain: it is the uncompressed model, trained alike and for as long, unless it has nothing
    to learn. Plans beside the promising one keep their own sizes, so that what is fine-tuned has
    a front of its own.

    Args:
        folder: The search.
        source: The model.
        metric: Name of the task's metric.
        limits: Those of the search, as absolute bounds.
        members: The trials whose plans are taken, the promising one first.
        settings: How to fine-tune.
    """
    of_trade = (SIZE, LATENCY, metric)  # what the uncompressed model is not meant to keep
    free = {name: limit for name, limit in limits.items() if name not in of_trade}
    main, *others = members
    name = _name(folder, settings)
    asked = {name: (main, main.plan, _own_limits(main, limits, keeps_size=False))}
    for one in others:
        own = _own_limits(one, limits, keeps_size=True)
        asked[f"{name}-{one.number:04d}"] = (one, one.plan, own)
    if not settings.control_stays:
        asked[CONTROL] = (main, uncompressed_plan(source), free)
    return {
        name: RecoveryJob(
            trial.number, plan, folder.recovered(name, settings.key), settings, judged
        )
        for name, (trial, plan, judged) in asked.items()
    }


def _name(folder: SearchFolder, settings: RecoverySettings) -> str:
    """Return what folders of fine-tuned plans are called; earlier versions had one name."""
    earlier = folder.recovered("recovered", settings.key).parent.exists()
    return "recovered" if earlier else settings.track


def _own_limits(
    trial: TrialResult, limits: Mapping[str, Limit], *, keeps_size: bool
) -> dict[str, Limit]:
    own = dict(limits)
    if (keeps_size or SIZE not in limits) and _has_steps(trial.plan):
        # Training moves the numbers, and with them the bytes that they need.
        own[SIZE] = Budget(trial.size_bytes).limit
    return own


def carry_out(jobs: Mapping[str, RecoveryJob], executor: Executor) -> None:
    """Fine-tune what is not fine-tuned yet, each once; what is finished is kept.

    An error of one is raised when the others that are under way have ended.

    Args:
        jobs: By their names.
        executor: Does them.

    Raises:
        TaskError: If the task has no training losses, or raises an exception.
        ObjectiveError: If an objective of the user's own is no finite number.
        SearchError: If a process dies.
    """
    waiting = [job for job in jobs.values() if not job.path.with_name(TRIAL).exists()]
    for job in jobs.values():
        if job not in waiting and not job.path.with_name(METHOD).exists():
            _note_method(job)  # of an earlier version
    names = {job.path: _told(name, job) for name, job in jobs.items()}
    fault: AutocompressError | None = None
    while waiting or executor.n_begun:
        while waiting and executor.n_begun < executor.capacity:
            job = waiting.pop(0)
            progress.say(f"{_DOING[job.settings.track]} {names[job.path]}: {job.settings.label()}")
            _note_method(job)
            executor.begin(job)
        done, outcome = executor.next()
        if isinstance(outcome, AutocompressError):
            fault = fault or outcome
            waiting.clear()
            continue
        assert isinstance(done, RecoveryJob)
        assert isinstance(outcome, TrialResult)
        if outcome.rejected is not None:
            progress.say(f"{done.title}: no file counts: {outcome.rejected}")
        write_json(done.path.with_name(TRIAL), outcome.to_json())
        clean_up(done.path.parent)
        if executor.capacity > 1:  # whose progress nobody sees
            values = (f"{key} {value:.4g}" for key, value in outcome.values.items() if key != SIZE)
            numbers = ", ".join([format_bytes(outcome.size_bytes), *values])
            progress.say(f"{DONE[done.settings.track]}: {names[done.path]}: {numbers}")
    if fault is not None:
        raise fault


def _note_method(job: RecoveryJob) -> None:
    write_json(job.path.with_name(METHOD), job.settings.method.to_json())


def _told(name: str, job: RecoveryJob) -> str:
    return "the uncompressed model, as control" if name == CONTROL else f"trial {job.number}"


def is_begun(folder: SearchFolder, settings: RecoverySettings) -> bool:
    """Whether a fine-tuning was begun, perhaps by a call that was interrupted."""
    return folder.recovered(_name(folder, settings), settings.key).parent.exists()


def _has_steps(plan: CompressionPlan) -> bool:
    """Whether the size of a plan's file can be adjusted by the width of steps."""
    return any(treatment.precision.has_steps for treatment in plan.treatments.values())
