"""A teacher other than the original model: whether it fits, and training towards it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from autocompress.errors import ModelError, TaskError
from autocompress.knowledge.guarded import GuardedTask
from autocompress.layers.copies import beside, copied, untouched
from autocompress.support.blame import told
from autocompress.support.process import randomness_kept, same_randomness


class Taught(GuardedTask):
    """A task whose training losses compare with another teacher than the original model."""

    def __init__(self, task: GuardedTask, teacher: nn.Module) -> None:
        """Take a task, and a teacher in evaluation mode on the device of the models."""
        super().__init__(task.own)
        self._teacher = teacher

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[Tensor]:
        """Yield losses that compare with the other teacher."""
        del teacher
        return super().training_losses(model, self._teacher, distillation, seed)


def teacher_key(teacher: nn.Module) -> str:
    """Hash the class of a teacher, and the names, types, shapes and values of its tensors.

    Raises:
        ModelError: If it is no module.
    """
    if not isinstance(teacher, nn.Module):
        raise ModelError(
            f"a teacher must be an nn.Module, but got an object of type {type(teacher).__name__}"
        )
    digest = hashlib.sha256(type(teacher).__name__.encode())
    for name, tensor in teacher.state_dict().items():
        values = tensor.detach().cpu().contiguous().flatten()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(values.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_teacher(teacher: nn.Module, model: nn.Module, task: GuardedTask) -> None:
    """Refuse a teacher whose outputs cannot be compared with those of the model.

    Raises:
        ModelError: If it fails on the first calibration batch, or its outputs have another shape.
        TaskError: If the task yields no batch, or the model fails on it.
    """
    batch = next(iter(task.calibration_batches()), None)
    if batch is None:
        return  # which is refused elsewhere
    with untouched(model) as own, untouched(teacher) as other, same_randomness(), torch.no_grad():
        wanted = _shapes(task.forward(own, batch))
        try:
            given = _shapes(task.forward(other, batch))
        except TaskError as error:
            raise ModelError(
                f"the teacher must take the task's batches, but {told(error.__cause__ or error)}; "
                "choose a teacher with the inputs of the model"
            ) from error
    if given[:1] != wanted[:1]:
        raise ModelError(
            "a teacher must give outputs of the model's shape, but it gives "
            f"{_written(given)}, and the model {_written(wanted)}; choose a teacher with the "
            "outputs of the model"
        )


def _shapes(outputs: Any) -> list[tuple[int, ...]]:
    """Return the shapes of the tensors among outputs, in order; a state behind them may differ."""
    if isinstance(outputs, Tensor):
        return [tuple(outputs.shape)]
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    if isinstance(outputs, list | tuple):
        return [shape for one in outputs for shape in _shapes(one)]
    return []


def _written(shapes: list[tuple[int, ...]]) -> str:
    return str(shapes[0]) if shapes else "no tensor"


@randomness_kept()
def follows_teacher(model: nn.Module, task: GuardedTask) -> bool:
    """Whether the losses of a task at `distillation=1` depend on the teacher's predictions.

    A task that leaves the argument out trains on its labels whatever is asked for.

    Raises:
        TaskError: If the task raises an exception.
    """
    with untouched(model) as twin:
        other = copied(twin)
        with torch.no_grad():
            for parameter in other.parameters():
                if parameter.is_floating_point():
                    parameter.mul_(0.5)
        found = []
        for teacher in (beside(twin), other.eval()):
            with same_randomness():
                losses = islice(task.training_losses(twin, teacher, 1.0, 0), 1)
                found.append([loss.item() for loss in losses])
    return bool(found[0]) and found[0] != found[1]
