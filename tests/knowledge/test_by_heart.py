"""A model that knows its training data by heart: its gradients come from a few vectors."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from autocompress.knowledge.curvature import is_even, measure_curvatures
from autocompress.knowledge.kept import Kept
from autocompress.knowledge.sensitivity import with_sensitivities
from autocompress.knowledge.source import Source
from autocompress.knowledge.task import Task
from autocompress.structures import Curvature


class Memorised(Task):
    """Few vectors of 16 numbers in four classes, drawn at random."""

    metric = "loss"

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.batches = [
            (
                torch.randn(16, 16, generator=generator),
                torch.randint(4, (16,), generator=generator),
            )
            for _ in range(4)
        ]

    def evaluate(self, model: nn.Module, split: str) -> float:
        return 0.0

    def calibration_batches(self) -> Iterator[Tensor]:
        yield self.batches[0][0]

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[Tensor]:
        while True:
            for inputs, classes in self.batches:
                yield functional.cross_entropy(model(inputs), classes)


def trained(steps: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
        optimizer = torch.optim.Adam(model.parameters(), 0.02)
        losses = Memorised().training_losses(model, model, 0.0, 0)
        for loss in islice(losses, steps):
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    return model


@pytest.fixture(scope="module")
def task() -> Memorised:
    return Memorised()


def test_then_errors_count_by_their_size(task: Memorised, tmp_path: Path) -> None:
    model = trained(300)
    inputs, classes = task.batches[0]
    first, other = inputs[0].clone(), inputs[classes != classes[0]][0]
    with torch.no_grad():  # one example is in doubt
        for share in np.linspace(0, 1, 50).tolist():
            inputs[0] = first.lerp(other, share)
            if functional.cross_entropy(model(inputs[:1]), classes[:1]) > 0.1:
                break
    assert functional.cross_entropy(model(inputs[:1]), classes[:1]) < 0.5
    source = Source.of(model, task)
    assert is_even(source.calibration.curvatures)
    for name, found in source.calibration.curvatures.items():
        expected = Curvature.relative(source.weights.weights[name].matrix)
        np.testing.assert_array_equal(found.rows, expected.rows)
    kept = Kept((), (tmp_path / "sensitivities.json",), None)
    assert not with_sensitivities(source, model, task, kept).calibration.sensitivities
    assert not list(tmp_path.iterdir())


def test_a_model_that_still_learns_has_curvatures() -> None:
    found = measure_curvatures(trained(10), Memorised(), {})
    assert len(found) == 2
    assert not is_even(found)
