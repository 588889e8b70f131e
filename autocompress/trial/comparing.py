"""A compressed model side by side with its original, on whatever a task says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from autocompress.knowledge.guarded import guarded
from autocompress.knowledge.task import Task
from autocompress.support import progress
from autocompress.support.process import same_randomness

_BATCHES = 32
_LEAST_CLASSES = 2


@dataclass(frozen=True)
class Difference:
    """How a compressed model differs from its original.

    Attributes:
        metric: Name of the task's metric.
        original: The metric of the original, by split.
        compressed: That of the compressed model.
        batches: Calibration batches that both were run on; 0 where their outputs hold no tensors
            of floating-point numbers.
        relative_error: Norm of the difference between all outputs, in shares of the norm of the
            original's; None without such outputs.
        agreement: How often the largest number of the last dimension has the same place in both,
            as a share; None without such outputs, or where that dimension has a single number.
    """

    metric: str
    original: Mapping[str, float]
    compressed: Mapping[str, float]
    batches: int
    relative_error: float | None
    agreement: float | None

    def to_json(self) -> dict[str, Any]:
        """Return all of it as a JSON object."""
        return asdict(self)


def difference(original: nn.Module, compressed: nn.Module, task: Task) -> Difference:
    """Compare two models by a task: its metric on both splits, and their outputs.

    Args:
        original: In evaluation mode.
        compressed: Another one of the same structure.
        task: Evaluates, and gives the calibration batches.

    Raises:
        TaskError: If the task raises an exception, or gives what it must not.
    """
    own = guarded(task)
    sums = _Sums()
    with torch.no_grad(), progress.bar("comparing", None) as bar:
        for batch in islice(own.calibration_batches(), _BATCHES):
            outputs = []
            for model in (original, compressed):
                with same_randomness():
                    outputs.append(list(_tensors(own.forward(model, batch))))
            sums.add(*outputs)
            bar.advance()
    before, after = (
        {"valid": own.evaluate(model, "valid"), "test": own.evaluate(model, "test")}
        for model in (original, compressed)
    )
    return Difference(own.metric, before, after, sums.batches, sums.relative_error, sums.agreement)


class _Sums:
    """What is added up over batches."""

    def __init__(self) -> None:
        self.batches, self._error, self._norm = 0, 0.0, 0.0
        self._agreed = self._rows = 0

    def add(self, first: list[Tensor], second: list[Tensor]) -> None:
        """Add the outputs of both on one batch."""
        pairs = [(a, b) for a, b in zip(first, second, strict=False) if a.shape == b.shape]
        self.batches += bool(pairs)
        for a, b in pairs:
            self._error += float((a - b).double().square().sum())
            self._norm += float(a.double().square().sum())
            if a.dim() and a.shape[-1] >= _LEAST_CLASSES:
                same = a.argmax(-1) == b.argmax(-1)
                self._agreed += int(same.sum())
                self._rows += same.numel()

    @property
    def relative_error(self) -> float | None:
        """The norm of the difference, in shares of that of the original."""
        return (self._error / self._norm) ** 0.5 if self._norm else None

    @property
    def agreement(self) -> float | None:
        """How often the largest numbers have the same places."""
        return self._agreed / self._rows if self._rows else None


def _tensors(output: Any) -> Iterator[Tensor]:
    """Yield the tensors of floating-point numbers in an output, wherever they are."""
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output.detach().cpu()
    elif isinstance(output, Mapping):
        for part in output.values():
            yield from _tensors(part)
    elif isinstance(output, list | tuple):
        for part in output:
            yield from _tensors(part)
    elif hasattr(output, "__dataclass_fields__"):
        yield from _tensors(vars(output))
