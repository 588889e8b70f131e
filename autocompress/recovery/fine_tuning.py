"""A recovery under way: the numbers in training, how far they have come, and checkpoints."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from autocompress.errors import TaskError
from autocompress.knowledge.guarded import differentiate
from autocompress.knowledge.source import Source
from autocompress.knowledge.task import Task
from autocompress.outcome.results import TrialResult
from autocompress.plan import CompressionPlan
from autocompress.recovery.pipeline import pipeline_stages, stage_of
from autocompress.recovery.pruning import ramp, share_of_sparsity
from autocompress.recovery.represented import Represented
from autocompress.recovery.settings import RecoverySettings
from autocompress.support.device import device_of, has_fused
from autocompress.support.files import parsed_json, put_aside, write_whole
from autocompress.support.threads import Threads, clip_gradients

_WARM_UP = 0.02
_FIRST_STEP = 1e-4
_CLIP = 1.0
_SHRINKING = 16  # steps of training; shrinking takes as long as a seventh of one
_MISREAD = (LookupError, TypeError, ValueError)
_PRUNINGS = 20
"""How often a ramp prunes anew: ranking millions of magnitudes takes longer than a step."""


class FineTuning:
    """A recovery under way.

    What follows after a segment depends on what its checkpoint holds, and on nothing else.

    Attributes:
        represented: The model in training, in the representation of the stage it is in.
        segment: Segments that are finished.
        steps: Batches that it was trained on.
        best: The best measured file, or None.
        best_segment: The segment that it came from.
        losses: Of the steps since they were last taken away, in order.
    """

    represented: Represented

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        source: Source,
        plan: CompressionPlan,
        settings: RecoverySettings,
        checkpoint: Path,
    ) -> None:
        self.segment, self.steps, self.best_segment = 0, 0, 0
        self.best: TrialResult | None = None
        self.losses: list[float] = []
        self._model, self._task, self._source, self._settings = model, task, source, settings
        self._stages = pipeline_stages(plan, source) if settings.pipeline else [plan]
        self._seconds = 0.0
        self._stage, self._start, self._pruned = 0, 0.0, -1
        self._unshrunk = 0.0
        self._threads: Threads | None = None
        document = _read(checkpoint)
        if document is not None:
            self._load(document)
        else:
            represented = Represented(model, source, self._stages[0])
            self._enter(represented, prunes=represented.is_pruned)

    @property
    def is_complete(self) -> bool:
        """Whether the representation is all that the plan says, so that a file can be measured."""
        return self._stage == len(self._stages) - 1 and self._pruned >= _PRUNINGS

    def is_promising(self, patience: int) -> bool:
        """Whether one of the last files was the best, or the first half is not over yet."""
        since = max(self.best_segment, self._settings.segments // 2)
        return self.best is None or self.segment - since < patience

    @property
    def _done(self) -> float:
        return self._settings.budget.share(self._seconds, self.steps)

    def _enter(self, represented: Represented, *, prunes: bool) -> None:
        """Begin a stage: the optimizer starts from nothing, and so does pruning, if it is new."""
        self.represented = represented
        self._start, self._pruned = min(self._done, 1.0), -1 if prunes else _PRUNINGS
        self._optimize()

    def _optimize(self) -> None:
        self.represented.set_dropout(self._settings.dropout)
        latents = self.represented.latents
        fused = has_fused(device_of(self.represented.model))
        self._optimizer = torch.optim.Adam(latents, betas=(0.9, 0.99), fused=fused)

    def train_segment(self) -> None:
        """Train for one share of the budget, entering the stages that are due."""
        due = stage_of(self.segment, self._settings.segments, len(self._stages))
        while self._stage < due:
            self._stage += 1
            before = self.represented
            now = before.succeeded_by(self._stages[self._stage])
            self._enter(now, prunes=now.is_pruned and not before.is_pruned)
        seed = self._settings.seed * self._settings.segments + self.segment
        end = (self.segment + 1) / self._settings.segments
        self.represented.model.train()
        if self._threads is None:
            self._threads = self._chosen_threads()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            losses = self._losses(seed)
            while self._done < end:
                clock = time.perf_counter()
                self._prune()
                with self._threads.step():
                    self._step(losses)
                self.steps += 1
                self._seconds += time.perf_counter() - clock
        self._prune()
        self._shrink()
        self.represented.refresh()
        self.represented.model.eval()
        self.segment += 1

    def _chosen_threads(self) -> Threads:
        """Return what chooses the threads; so many steps give the same numbers on any of them."""
        if self._settings.budget.steps is None:
            return Threads()  # how many steps there are depends on the time in any case

        def gradients() -> list[torch.Tensor]:
            self._optimizer.zero_grad()
            self.represented.refresh()
            differentiate(next(self._losses(0)))
            found = [latent.grad for latent in self.represented.latents]
            return [gradient for gradient in found if gradient is not None]

        return Threads.exact(gradients)

    def _losses(self, seed: int) -> Iterator[torch.Tensor]:
        """Yield losses without end; a task that stops is asked for another pass.

        Raises:
            TaskError: If it yields none.
        """
        for number in count():
            losses = self._task.training_losses(
                self.represented.model, self._model, self._settings.distillation, seed + number
            )
            loss = None
            for loss in losses:
                yield loss
            if loss is None:
                raise TaskError(
                    "recovery trains with `task.training_losses(...)`, but the task yields none; "
                    "define it, or leave recovery (--recover) out"
                )

    def _prune(self) -> None:
        """Prune a little more, until the ramp is done; then masks and codes stay as they are."""
        progress = ramp(min(self._done, 1.0), self._start) if self._start < 1 else 1.0
        pruning = min(int(progress * _PRUNINGS), _PRUNINGS)
        if pruning == self._pruned:
            return
        if self._pruned == -1:
            self.represented.unsettle()
        if self._pruned < _PRUNINGS:
            self.represented.prune(share_of_sparsity(pruning / _PRUNINGS))
            self._pruned = pruning
            if pruning == _PRUNINGS:
                self.represented.settle()

    def _step(self, losses: Iterator[torch.Tensor]) -> None:
        done = self._done
        fall = (1 + math.cos(math.pi * done)) / 2
        rate = self._settings.learning_rate * fall * min(1.0, (done + _FIRST_STEP) / _WARM_UP)
        self._optimizer.param_groups[0]["lr"] = rate
        self._optimizer.zero_grad()
        self.represented.refresh()
        loss = next(losses)
        differentiate(loss)
        self.losses.append(loss.item())
        clip_gradients(self.represented.latents, _CLIP)
        self._optimizer.step()
        self._unshrunk += self._settings.shrinkage * rate
        if self.steps % _SHRINKING == 0:
            self._shrink()

    def _shrink(self) -> None:
        self.represented.shrink(self._unshrunk)
        self._unshrunk = 0.0

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        document = {
            "progress": json.dumps(self._progress()),
            "states": self.represented.states(),
            "optimizer": self._optimizer.state_dict(),
        }
        write_whole(path, lambda temporary: torch.save(document, temporary))

    def _progress(self) -> dict[str, Any]:
        return {
            "segment": self.segment,
            "steps": self.steps,
            "seconds": self._seconds,
            "stage": self._stage,
            "start": self._start,
            "pruned": self._pruned,
            "best": None if self.best is None else self.best.to_json(),
            "best_segment": self.best_segment,
            "plan": self.represented.plan.to_json(),
        }

    def _load(self, document: Mapping[str, Any]) -> None:
        """Continue from a checkpoint."""
        progress: Mapping[str, Any] = json.loads(document["progress"])
        self.segment, self.steps = progress["segment"], progress["steps"]
        self._seconds, self._stage = progress["seconds"], progress["stage"]
        self._start, self._pruned = progress["start"], progress["pruned"]
        self.best_segment = progress["best_segment"]
        if progress["best"] is not None:
            self.best = TrialResult.from_json(progress["best"])
        plan = CompressionPlan.from_json(progress["plan"])
        self.represented = Represented(self._model, self._source, plan, document["states"])
        self._optimize()
        self._optimizer.load_state_dict(document["optimizer"])


def _read(checkpoint: Path) -> Mapping[str, Any] | None:
    """Read a checkpoint; None where there is none, or it was damaged and is now put aside."""
    try:
        document: Mapping[str, Any] = torch.load(checkpoint, weights_only=True, map_location="cpu")
        parsed_json(document["progress"])
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError, EOFError, UnpicklingError, *_MISREAD) as error:
        put_aside(checkpoint, error)
        return None
    return document
