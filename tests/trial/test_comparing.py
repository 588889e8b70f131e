"""Outputs of all kinds are compared; those without numbers are not."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autocompress import Task
from autocompress.trial.comparing import difference


@dataclass
class Answer:
    logits: Tensor
    ids: Tensor


class Shaped(Task):
    """Gives the output of a layer in some shape."""

    metric = "loss"

    def __init__(self, shape: str) -> None:
        self.shape = shape

    def evaluate(self, model: nn.Module, split: str) -> float:
        del split
        return float(model(torch.ones(1, 4)).detach().sum())

    def calibration_batches(self) -> Iterator[Tensor]:
        yield torch.eye(4)
        yield torch.ones(3, 4)

    def forward(self, model: nn.Module, batch: Tensor) -> Any:
        logits = model(batch)
        shapes = {
            "tensor": logits,
            "tuple": (logits, [logits.argmax(-1)]),
            "mapping": {"logits": logits, "loss": None},
            "object": Answer(logits, logits.argmax(-1)),
            "single": logits[:, :1],
            "text": "no tensor",
        }
        return shapes[self.shape]


def layer(scale: float = 1.0) -> nn.Module:
    model = nn.Linear(4, 3)
    with torch.no_grad():
        model.weight.copy_(scale * torch.arange(12.0).reshape(3, 4))
        model.bias.zero_()
    return model.eval()


@pytest.mark.parametrize("shape", ["tensor", "tuple", "mapping", "object"])
def test_outputs_are_found_wherever_they_are(shape: str) -> None:
    found = difference(layer(), layer(1.1), Shaped(shape))
    assert found.relative_error == pytest.approx(0.1, rel=1e-5)
    assert found.agreement == 1
    assert found.batches == 2
    assert found.compressed["test"] == pytest.approx(1.1 * found.original["valid"])


def test_signs_turn_the_order() -> None:
    found = difference(layer(), layer(-1), Shaped("tensor"))
    assert found.agreement == 0
    assert found.relative_error == pytest.approx(2)


def test_a_single_number_has_no_order() -> None:
    assert difference(layer(), layer(1.1), Shaped("single")).agreement is None


def test_outputs_without_numbers_are_left_out() -> None:
    found = difference(layer(), layer(1.1), Shaped("text"))
    assert found.batches == 0
    assert found.relative_error is found.agreement is None
