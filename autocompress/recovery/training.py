"""The fine-tuning itself: in segments, each of which ends in a measured file and a checkpoint."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autocompress import progress
from autocompress.compression import Source, write_artifact
from autocompress.errors import SearchError
from autocompress.objectives import Budget, format_bytes
from autocompress.plan import CompressionPlan
from autocompress.recovery.represented import Represented
from autocompress.recovery.settings import RecoverySettings
from autocompress.results import TrialResult
from autocompress.task import Task
from autocompress.trial import Evaluator

_WARM_UP = 0.02
_FIRST_STEP = 1e-4
_FITTINGS, _FILLING, _SLACK, _LARGEST_STRIDE = 12, 0.9925, 0.0075, 0.5
_CLIP = 1.0
_CHECKPOINT, _ARTIFACT = "checkpoint.pt", "model.acz"


def recover(
    model: nn.Module,
    task: Task,
    evaluator: Evaluator,
    plan: CompressionPlan,
    folder: Path,
    settings: RecoverySettings,
    number: int,
) -> TrialResult:
    """Fine-tune a model in the representation of a plan and keep the best file.

    After each part of the budget the factors are written into a file, which is reloaded and
    measured; with a size budget, entropy-constrained steps are first widened or narrowed until
    the file just fits. The best that is feasible stays in `folder / "model.acz"`. Called again, it
    continues after the last part that was finished.

    Args:
        model: The original model, which is also the teacher; it is not changed.
        task: Gives the training losses.
        evaluator: Measures files.
        plan: How every weight is stored.
        folder: Where the file and the checkpoint lie.
        settings: How long and how to train.
        number: The trial whose plan it is.

    Returns:
        The best file's numbers; if none is feasible, those of the smallest.

    Raises:
        SearchError: If the task has no training losses.
        ObjectiveError: If the model diverged and an objective is no finite number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, artifact = folder / _CHECKPOINT, folder / _ARTIFACT
    was_training = model.training
    represented = Represented(model, evaluator.source, plan)
    run = _Run(represented, task, model.eval(), settings)
    if checkpoint.exists():
        run.load(checkpoint)
    try:
        with progress.bar("recovery", settings.segments) as bar:
            bar.advance(run.segment)
            while run.segment < settings.segments:
                run.train_segment()
                candidate = folder / _file_of(run.segment)
                if evaluator.budget is not None:
                    fit_steps(represented, evaluator.source, evaluator.budget, candidate)
                result = evaluator.run(number, represented.plan, candidate, represented.factors())
                if run.best is None or _better(result, TrialResult.from_json(run.best), task):
                    run.best, run.best_segment = result.to_json(), run.segment
                run.save(checkpoint)
                size = format_bytes(result.size_bytes)
                score = result.values.get(task.metric, math.nan)
                bar.advance(note=f"{size}, {task.metric} {score:.2f}, {run.steps} steps")
    finally:
        model.train(was_training)
    best = folder / _file_of(run.best_segment)
    if best.exists():  # or else it was moved, and then the process ended
        best.replace(artifact)
    assert run.best is not None
    return TrialResult.from_json(run.best)


def _file_of(segment: int | str) -> str:
    # One file for each segment: the checkpoint alone decides which of them is the best.
    return f"segment-{segment}.acz"


def clean_up(folder: Path) -> None:
    """Remove what only an unfinished recovery needs: the checkpoint, and the other files."""
    (folder / _CHECKPOINT).unlink(missing_ok=True)
    for path in folder.glob(_file_of("*")):
        path.unlink()


def fit_steps(represented: Represented, source: Source, budget: Budget, path: Path) -> None:
    """Widen or narrow the steps until the file just fits the budget.

    Training moves the numbers, and with them the bits that they need. One octave of all steps is
    worth about one bit of each number.

    Args:
        represented: The factors; the steps of its plan are changed.
        source: The model.
        budget: The limit on the file.
        path: A file to write to.
    """
    octave_bytes = represented.n_stepped / 8
    widened, best = 0.0, math.inf  # octaves by now, and the fewest at which the file fits
    too_fine = -math.inf
    for _ in range(_FITTINGS if octave_bytes else 0):
        write_artifact(source, represented.plan, path, represented.factors())
        excess = path.stat().st_size - _FILLING * budget.limit_bytes
        if -_SLACK * budget.limit_bytes <= excess <= (1 - _FILLING) * budget.limit_bytes:
            return
        if excess > 0:
            too_fine = widened
        else:
            best = widened
        octaves = min(max(excess / octave_bytes, -_LARGEST_STRIDE), _LARGEST_STRIDE)
        if not too_fine < widened + octaves < best:
            # Sizes jump where the coder changes; between two known ends, the middle is safe.
            octaves = (too_fine + best) / 2 - widened
        represented.widen_steps(octaves)
        widened += octaves
    if math.isfinite(best):
        represented.widen_steps(best - widened)


def _better(result: TrialResult, best: TrialResult, task: Task) -> bool:
    """Whether a file is to be kept: feasible before not, then by the metric, then by size."""
    sign = 1 if task.direction == "minimize" else -1

    def rank(trial: TrialResult) -> tuple[bool, float]:
        measured = sign * trial.values[task.metric] if trial.feasible else trial.size_bytes
        return not trial.feasible, measured

    return rank(result) < rank(best)


class _Run:
    """A recovery under way: the numbers in training and how far they have come.

    Attributes:
        segment: Segments that are finished.
        best: The best measured file as JSON, or None.
        best_segment: The segment that it came from.
    """

    def __init__(
        self, represented: Represented, task: Task, teacher: nn.Module, settings: RecoverySettings
    ) -> None:
        self.segment, self.steps, self.seconds = 0, 0, 0.0
        self.best: dict[str, Any] | None = None
        self.best_segment = 0
        self._represented, self._task, self._teacher = represented, task, teacher
        self._settings = settings
        represented.set_dropout(settings.dropout)
        latents = list(represented.latents)
        # A step is relative to what it changes: factors differ in size by orders of magnitude.
        self._scales = [float(latent.detach().square().mean().sqrt()) or 1.0 for latent in latents]
        groups = [{"params": [latent]} for latent in latents]
        self._optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True)

    def train_segment(self) -> None:
        """Train for one share of the budget; what follows depends on the checkpoint alone."""
        seed = self._settings.seed * self._settings.segments + self.segment
        end = (self.segment + 1) / self._settings.segments
        self._represented.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            losses = self._task.training_losses(
                self._represented, self._teacher, self._settings.distillation, seed
            )
            while (done := self._settings.budget.share(self.seconds, self.steps)) < end:
                clock = time.perf_counter()
                self._step(losses, done)
                self.steps += 1
                self.seconds += time.perf_counter() - clock
        self._represented.eval()
        self.segment += 1

    def _step(self, losses: Iterator[torch.Tensor], done: float) -> None:
        rate = self._settings.learning_rate * (1 + math.cos(math.pi * done)) / 2
        rate *= min(1.0, (done + _FIRST_STEP) / _WARM_UP)
        for group, scale in zip(self._optimizer.param_groups, self._scales, strict=True):
            group["lr"] = rate * scale
        self._optimizer.zero_grad()
        self._represented.refresh()
        loss = next(losses, None)
        if loss is None:
            raise SearchError("the task yields no training losses; define `training_losses`")
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self._represented.latents, _CLIP)
        self._optimizer.step()

    def save(self, path: Path) -> None:
        """Write a checkpoint in one step."""
        document = {
            "segment": self.segment,
            "steps": self.steps,
            "seconds": self.seconds,
            "best": json.dumps(self.best),
            "best_segment": self.best_segment,
            "plan": self._represented.plan.dumps(),
            "latents": [latent.detach() for latent in self._represented.latents],
            "optimizer": self._optimizer.state_dict(),
        }
        partial = path.with_name(path.name + ".partial")
        torch.save(document, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint."""
        document = torch.load(path, weights_only=True)
        self.segment, self.steps = document["segment"], document["steps"]
        self.seconds, self.best = document["seconds"], json.loads(document["best"])
        self.best_segment = document["best_segment"]
        self._represented.adopt(CompressionPlan.from_json(json.loads(document["plan"])))
        with torch.no_grad():
            for latent, saved in zip(self._represented.latents, document["latents"], strict=True):
                latent.copy_(saved)
        self._optimizer.load_state_dict(document["optimizer"])
