"""Classification and regression, from data loaders."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from autocompress.errors import TaskError
from autocompress.knowledge.task import Task
from autocompress.outcome.objectives import Split
from autocompress.support.device import device_of, moved

Batch = Sequence[Any]
"""Inputs of the model, and last of all the targets."""


class _Labelled(Task):
    """A task whose batches are inputs and targets.

    Attributes:
        model_factory: See `Task`.
    """

    def __init__(
        self,
        train: Iterable[Batch],
        valid: Iterable[Batch],
        test: Iterable[Batch] | None = None,
        *,
        model_factory: str | None = None,
    ) -> None:
        """Take the data, each a `DataLoader`, or anything else that gives its batches anew.

        A batch is `(inputs, targets)`, or `(input, input, ..., targets)` for a model that takes
        several.

        Args:
            train: To calibrate and to fine-tune with.
            valid: By which plans are chosen.
            test: Read once, at the end. Without it every second batch of `valid` is held back
                for that, and plans are chosen by the others.
            model_factory: Import path, "package.module:factory", of what makes the model, by
                which the best of a search is served as an MLflow model.

        Raises:
            TaskError: If one of them can be read only once, or is not there.
        """
        for name, batches in (("train", train), ("valid", valid), ("test", test)):
            is_missing = batches is None and name != "test"
            if is_missing or isinstance(batches, Iterator | Tensor):
                raise TaskError(
                    f"`{name}` must be a DataLoader, or a list of batches (inputs, targets), but "
                    f"got an object of type {type(batches).__name__}"
                )
        self.train, self.valid, self.test = train, valid, test
        self.model_factory = model_factory

    def evaluate(self, model: nn.Module, split: Split) -> float:
        """Score a model on a split: the mean over all targets."""
        total, count = 0.0, 0
        with torch.inference_mode():
            for inputs, targets in self._batches(split):
                amount, n = self._score(_run(model, inputs), targets)
                total, count = total + amount, count + n
        if not count:
            raise TaskError(f"the split {split!r} has no targets; give a longer one")
        return total / count

    def part_losses(self, model: nn.Module, split: Split) -> Iterator[float]:
        """Yield the loss of one batch after another."""
        with torch.inference_mode():
            for inputs, targets in self._batches(split):
                yield self._loss(_run(model, inputs), targets).item()

    def calibration_batches(self) -> Iterator[Any]:
        """Yield the inputs of the training batches: a tensor, or a tuple where there are more."""
        for batch in self.train:
            inputs, _ = _parted(batch)
            yield inputs[0] if len(inputs) == 1 else inputs

    def forward(self, model: nn.Module, batch: Any) -> Any:
        """Run a model on inputs."""
        batch = moved(batch, device_of(model))
        return model(*batch) if isinstance(batch, tuple) else model(batch)

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[Tensor]:
        """Yield the losses of one pass, mixed with the distance from the teacher's outputs."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            batches = iter(self.train)
            batch = next(batches, None)
        while batch is not None:
            inputs, targets = _parted(batch)
            outputs = _run(model, inputs)
            loss = self._loss(outputs, targets)
            if distillation:
                with torch.no_grad():
                    wanted = _run(teacher, inputs)
                distance = self._distance(outputs, wanted)
                loss = (1 - distillation) * loss + distillation * distance
            yield loss
            batch = next(batches, None)

    def _batches(self, split: Split) -> Iterator[tuple[tuple[Any, ...], Tensor]]:
        source, kept = self.valid, None
        if split == "test" and self.test is not None:
            source = self.test
        elif self.test is None:
            kept = 0 if split == "valid" else 1
        for number, batch in enumerate(source):
            if kept is None or number % 2 == kept:
                yield _parted(batch)

    @abstractmethod
    def _score(self, outputs: Tensor, targets: Tensor) -> tuple[float, int]:
        """Return the sum of the metric over all targets, and their number."""

    @abstractmethod
    def _loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss."""

    @abstractmethod
    def _distance(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """Return how far outputs are from those of the teacher."""


class Classification(_Labelled):
    """One class for each target, scored by accuracy.

    The model gives logits of shape (batch, classes) or (batch, classes, ...), the targets are
    int64 of shape (batch) or (batch, ...), as for `torch.nn.functional.cross_entropy`; negative
    targets do not count.

        task = Classification(train_loader, valid_loader, test_loader)
        result = autocompress.search(model, task, budget="10x")
    """

    metric = "accuracy"
    direction = "maximize"

    def _score(self, outputs: Tensor, targets: Tensor) -> tuple[float, int]:
        targets = targets.to(outputs.device)
        counts = targets >= 0
        right = (outputs.argmax(1) == targets) & counts
        return right.sum().item(), int(counts.sum().item())

    def _loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        targets = targets.to(outputs.device)
        ignored = torch.where(targets < 0, -100, targets)
        return functional.cross_entropy(outputs, ignored)

    def _distance(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        log_shares = outputs.log_softmax(1).movedim(1, -1).flatten(0, -2)
        of_teacher = wanted.log_softmax(1).movedim(1, -1).flatten(0, -2)
        return functional.kl_div(log_shares, of_teacher, log_target=True, reduction="batchmean")


class Regression(_Labelled):
    """Numbers for each example, scored by the mean squared error.

    The model gives what can be compared with the targets, of equal shape or of as many numbers.
    """

    metric = "mse"

    def _score(self, outputs: Tensor, targets: Tensor) -> tuple[float, int]:
        error = functional.mse_loss(_as(outputs, targets), targets.to(outputs), reduction="sum")
        return error.item(), targets.numel()

    def _loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.mse_loss(_as(outputs, targets), targets.to(outputs))

    def _distance(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        return functional.mse_loss(outputs, wanted)


def _parted(batch: Any) -> tuple[tuple[Any, ...], Tensor]:
    """Part a batch into inputs and targets.

    Raises:
        TaskError: If it is nothing of the kind.
    """
    if not isinstance(batch, list | tuple) or len(batch) < 2:
        raise TaskError(
            "a batch must be (inputs, targets), but the loader gave an object of type "
            f"{type(batch).__name__}; have its `collate_fn` return a tuple"
        )
    *inputs, targets = batch
    return tuple(inputs), torch.as_tensor(targets)


def _run(model: nn.Module, inputs: tuple[Any, ...]) -> Tensor:
    outputs = model(*moved(inputs, device_of(model)))
    outputs = outputs[0] if isinstance(outputs, tuple) else outputs
    if not isinstance(outputs, Tensor):
        raise TaskError(
            f"the model must give a tensor, but gave an object of type {type(outputs).__name__}; "
            "write a task of your own for it"
        )
    return outputs


def _as(outputs: Tensor, targets: Tensor) -> Tensor:
    """Bring outputs into the shape of the targets, so that (n, 1) is not spread over (n)."""
    if outputs.shape != targets.shape and outputs.numel() == targets.numel():
        return outputs.reshape(targets.shape)
    if outputs.shape != targets.shape:
        raise TaskError(
            f"outputs of shape {tuple(outputs.shape)} cannot be compared with targets of shape "
            f"{tuple(targets.shape)}"
        )
    return outputs
