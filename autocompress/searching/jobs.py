"""Jobs: what can be done anywhere, with a plan and a few settings in, a result and a file out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from torch import nn

from autocompress.errors import ArtifactError
from autocompress.knowledge.guarded import guarded
from autocompress.knowledge.teaching import Taught
from autocompress.layers.copies import untouched
from autocompress.outcome.limits import Limit
from autocompress.outcome.results import TrialResult
from autocompress.plan import CompressionPlan
from autocompress.recovery import RecoverySettings, is_under_way, recover
from autocompress.support.files import put_aside
from autocompress.trial.evaluator import Evaluator
from autocompress.trial.looks import GivenUp, Hurdle


@dataclass(frozen=True)
class Bench:
    """What all jobs of a search work with, wherever that is.

    Attributes:
        model: The user's model.
        evaluator: Carries out plans of it and measures them.
        teacher: Whose predictions are the targets of fine-tuning, if it is not the model itself.
    """

    model: nn.Module
    evaluator: Evaluator
    teacher: nn.Module | None = None


class Job(Protocol):
    """A job, which can be sent to another process."""

    @property
    def number(self) -> int:
        """Of its trial."""

    @property
    def title(self) -> str:
        """What to call it."""

    @property
    def path(self) -> Path:
        """Where the artifact is to be; what else it writes lies beside it."""

    @property
    def trains(self) -> bool:
        """Whether it trains, which takes long, and which other hardware is made for."""

    def at(self, path: Path) -> Job:
        """Return the same job with its artifact elsewhere."""

    def carry_out(self, bench: Bench) -> TrialResult | GivenUp:
        """Do it.

        Raises:
            AutocompressError: If it fails.
        """


@dataclass(frozen=True)
class TrialJob:
    """One trial to be made.

    Attributes:
        number: Its number in the study.
        plan: What is tried.
        path: The artifact's file.
        hurdles: What it must not be clearly worse than.
    """

    number: int
    plan: CompressionPlan
    path: Path
    hurdles: Sequence[Hurdle] = ()

    @property
    def title(self) -> str:
        """Name the trial."""
        return f"trial {self.number}"

    @property
    def trains(self) -> bool:
        """A trial does not."""
        return False

    def at(self, path: Path) -> TrialJob:
        """Return the same trial with its artifact elsewhere."""
        return replace(self, path=path)

    def carry_out(self, bench: Bench) -> TrialResult | GivenUp:
        """Measure the plan, unless cheaper looks rule it out."""
        return bench.evaluator.attempt(self.number, self.plan, self.path, self.hurdles)


@dataclass(frozen=True)
class RecoveryJob:
    """One plan to be fine-tuned.

    Attributes:
        number: The trial whose plan it is.
        plan: How every weight is stored.
        path: The artifact's file; what an interrupted recovery needs lies beside it.
        settings: How long and how to train.
        limits: By objective name, what files are judged by.
    """

    number: int
    plan: CompressionPlan
    path: Path
    settings: RecoverySettings
    limits: Mapping[str, Limit]

    @property
    def title(self) -> str:
        """Name the recovery."""
        what = "tuning" if self.settings.track == "tuned" else "recovery"
        return f"{what} of trial {self.number}"

    @property
    def trains(self) -> bool:
        """A recovery does."""
        return True

    def at(self, path: Path) -> RecoveryJob:
        """Return the same recovery with its artifact, and what it needs, elsewhere."""
        return replace(self, path=path)

    def carry_out(self, bench: Bench) -> TrialResult | GivenUp:
        """Fine-tune the plan, or go on with it; files that are too slow are scored as well.

        What is fine-tuned already, but has lost its numbers, is only measured.
        """
        evaluator = replace(bench.evaluator, limits=self.limits, ending=("file",))
        folder = self.path.parent
        if self.path.exists() and not is_under_way(folder):
            try:
                return evaluator.measure(self.number, self.path)
            except ArtifactError as error:
                put_aside(self.path, error)
        task = evaluator.task
        with ExitStack() as stack:
            if self.settings.teacher is not None:
                assert bench.teacher is not None
                task = Taught(guarded(task), stack.enter_context(untouched(bench.teacher)))
            return recover(
                bench.model, task, evaluator, self.plan, folder, self.settings, self.number
            )
