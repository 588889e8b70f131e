"""What a search is asked for, checked before any work."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, get_args

from torch import nn

from autocompress.engines.base import ENGINES
from autocompress.errors import BudgetError, ExportError, ObjectiveError, SearchError
from autocompress.outcome.limits import Limit, Rise, parse_seconds
from autocompress.outcome.numbers import is_number
from autocompress.outcome.objectives import Objective
from autocompress.recovery import RecoveryBudget, RecoverySettings
from autocompress.searching.effort import Effort
from autocompress.searching.executors.connecting import check_address
from autocompress.searching.settings import SamplerName
from autocompress.searching.space.language import Space

_SHARE_OF_TUNING = 0.3  # of the time, once for the plan, once for the control
_LEAST_SECONDS = 10
SHARE_OF_TEACHER = 0.5
"""Of the loss, where recovery has a teacher, and nothing is said of distillation."""
_SEEDS = 2**32  # numpy takes no more


@dataclass(frozen=True)
class Request:
    """What a search is asked for.

    Attributes:
        name: What to call the model.
        space: What is offered.
        effort: How much is tried.
        budget_bytes: The limit on the size of the file, or None.
        max_rise: How much worse the metric may become, as in `Settings`, or None.
        latency: The limit on the latency, or None.
        objectives: Further numbers for the front.
        sampler: What proposes plans after the openings.
        seed: Of the sampler.
        recovery: How to fine-tune the best plan, or None to leave it out.
        fallback: How to fine-tune the nearest plan where no opening keeps the limits, or None to
            go on with the sampler.
        timeout: How long trials may be begun, in seconds, as it was asked for, or None.
        tracking_uri: Of the user's MLflow server; None is a database in the folder.
        recovery_members: How many plans are fine-tuned, the best among them.
        cluster: Address of the Dask cluster that does the jobs, or None for this machine.
        tuning: How to tune the best plan without labels, or None to leave it out.
        teacher: Whose predictions are the targets of fine-tuning, if it is not the model itself.
    """

    name: str
    space: Space
    effort: Effort
    budget_bytes: int | None = None
    max_rise: Rise | None = None
    latency: Limit | None = None
    objectives: tuple[Objective, ...] = ()
    sampler: SamplerName = "tpe"
    seed: int = 0
    recovery: RecoverySettings | None = None
    fallback: RecoverySettings | None = None
    timeout: float | None = None
    tracking_uri: str | None = None
    cluster: str | None = None
    recovery_members: int = 1
    tuning: RecoverySettings | None = None
    teacher: nn.Module | None = None

    def __post_init__(self) -> None:
        """Check what does not depend on a model.

        Raises:
            SearchError, ExportError, RegistryError: If something cannot be used.
        """
        counts: dict[str, tuple[object, int]] = {
            "trials": (self.effort.trials, 1),
            "jobs": (self.effort.jobs, 1),
            "recovery_members": (self.recovery_members, 1),
            "seed": (self.seed, 0),
        }
        for name, (count, least) in counts.items():
            if not is_number(count) or not isinstance(count, Integral) or int(count) < least:
                raise SearchError(
                    f"`{name} >= {least}` must hold for a whole number, but got {count!r}"
                )
        if self.seed >= _SEEDS:
            raise SearchError(f"`seed < 2**32` must hold, but got {self.seed}")
        if self.sampler not in get_args(SamplerName):
            known = ", ".join(get_args(SamplerName))
            raise SearchError(f"`sampler` must be one of {known}, but got '{self.sampler}'")
        self._check_place()
        engine = ENGINES[self.engine] if self.is_timed or self.space.engine else None
        if self.is_timed and engine is not None and not engine.measures_latency:
            raise ExportError(
                f"engine '{self.engine}' measures no latency; choose another engine in the search "
                "space, or leave the latency out"
            )
        if self.teacher is not None and not self.fine_tunings:
            raise SearchError(
                'a teacher needs `tuning` (--tune) or `recovery` (--recover), such as "10m"'
            )
        if self.recovery_members > 1 and not self.fine_tunings:
            raise SearchError(
                f"`recovery_members={self.recovery_members}` (--recover-members) needs `tuning` "
                '(--tune) or `recovery` (--recover), such as "10m"'
            )
        if self.space.pipeline:
            for name in ("tuning", "recovery"):
                settings = getattr(self, name)
                if settings is not None:
                    object.__setattr__(self, name, replace(settings, pipeline=True))

    def _check_place(self) -> None:
        if self.is_timed and self.effort.jobs > 1:
            raise SearchError("jobs side by side disturb each other's latency; use one job")
        if self.cluster is None:
            return
        check_address(self.cluster)
        if self.effort.jobs > 1:
            raise SearchError(
                f"a cluster does one job on each of its workers, but jobs={self.effort.jobs} were "
                "asked for too; leave one of both out"
            )
        if self.is_timed:
            raise SearchError(
                "latency is measured beside the uncompressed model on one machine; leave the "
                "cluster out, or the latency"
            )

    @property
    def fine_tunings(self) -> tuple[RecoverySettings, ...]:
        """How to fine-tune the best plan: without labels, then on labels, as far as asked for."""
        return tuple(one for one in (self.tuning, self.recovery) if one is not None)

    @property
    def is_parallel(self) -> bool:
        """Whether trials may be made side by side."""
        return self.effort.jobs > 1 or self.cluster is not None

    @property
    def is_timed(self) -> bool:
        """Whether latency is an objective."""
        return self.space.latency or self.latency is not None

    @property
    def engine(self) -> str:
        """What runs the plans."""
        return self.space.engine or ("onnx" if self.is_timed else "torch")

    @property
    def space_sha256(self) -> str:
        """Hash of the search space."""
        return hashlib.sha256(self.space.model_dump_json().encode()).hexdigest()


def fine_tuning(
    recovery: str | RecoverySettings | None, seed: int, teacher: str | None = None
) -> RecoverySettings | None:
    """Understand how the best plan is to be fine-tuned on labels.

    Args:
        recovery: As a user says it.
        seed: Of the search.
        teacher: What tells the teacher from others, if it is not the model itself.

    Raises:
        BudgetError: If a text is neither a time nor a number of steps, or nothing is learnt of
            the teacher.
    """
    if recovery is None:
        return None
    if not isinstance(recovery, RecoverySettings):
        share = 0.0 if teacher is None else SHARE_OF_TEACHER
        budget = RecoveryBudget.parse(str(recovery))
        recovery = RecoverySettings(budget, distillation=share, seed=seed)
    if teacher is not None and not recovery.distillation:
        raise BudgetError(
            "with a teacher, recovery needs `0 < distillation <= 1`, but got distillation=0; "
            "leave the teacher out, or state a share (--distillation 0.5)"
        )
    return replace(recovery, teacher=teacher)


def label_free_tuning(
    tuning: str | RecoverySettings | None, seed: int, teacher: str | None = None
) -> RecoverySettings | None:
    """Understand how the best plan is to be tuned without labels.

    Args:
        tuning: As a user says it.
        seed: Of the search.
        teacher: What tells the teacher from others, if it is not the model itself.

    Raises:
        BudgetError: If a text is neither a time nor a number of steps, or labels would be used.
    """
    if tuning is None:
        return None
    if not isinstance(tuning, RecoverySettings):
        tuning = RecoverySettings.label_free(RecoveryBudget.parse(str(tuning)), seed)
    if tuning.track != "tuned":
        raise BudgetError(
            "tuning without labels needs `distillation == 1`, but got "
            f"distillation={tuning.distillation:g}; state that, or use `recovery`"
        )
    return replace(tuning, teacher=teacher)


def checked_objectives(objectives: Any) -> tuple[Objective, ...]:
    """Return a user's own objectives.

    Raises:
        ObjectiveError: If it is anything else than a list of objectives.
    """
    found = tuple(objectives) if isinstance(objectives, Iterable) else (objectives,)
    for one in found:
        if not isinstance(one, Objective) or one is objectives:
            place = "" if one is objectives else " in it"
            raise ObjectiveError(
                "`objectives` must be a list of `Objective(name, direction, function)`, but got "
                f"an object of type {type(one).__name__}{place}"
            )
    return found


def instead_of_samples(timeout: str, seed: int) -> RecoverySettings:
    """Return how to fine-tune where no opening will do: equal timeouts, equal settings."""
    seconds = max(_SHARE_OF_TUNING * parse_seconds(timeout), _LEAST_SECONDS)
    return RecoverySettings(RecoveryBudget(seconds=round(seconds)), seed=seed)
