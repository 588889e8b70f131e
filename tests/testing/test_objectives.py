"""The objectives of the package go through the kit, which finds what is wrong with others."""

import random

import pytest
import torch

from autocompress import Measured, Objective
from autocompress.outcome.objectives import latency_objective, size_objective
from autocompress.testing import check_objective


def spoiling(measured: Measured) -> float:
    with torch.no_grad():
        for weight in measured.model.parameters():
            weight.zero_()
    return 1.0


def spoiling_file(measured: Measured) -> float:
    measured.path.write_bytes(measured.path.read_bytes() + b"\0")
    return 1.0


def drawing(measured: Measured) -> float:
    del measured
    return random.random()


def counting(measured: Measured) -> float:
    counts.append(measured)
    return len(counts)


counts: list[Measured] = []


@pytest.mark.parametrize("objective", [size_objective(), latency_objective()])
def test_objectives_conform(objective: Objective) -> None:
    check_objective(objective)


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (Objective("o", "minimize", lambda m: float("nan"), phase="plan"), "must be a finite"),
        (Objective("o", "minimize", lambda m: m.artifact.size_bytes, phase="plan"), "must not ra"),
        (Objective("o", "minimize", spoiling), "must not change the model"),
        (Objective("o", "minimize", spoiling_file, phase="file"), "must not change the file"),
        (Objective("o", "minimize", drawing), "leave the global random state alone"),
        (Objective("o", "minimize", counting), "must give the same number each time"),
        (Objective("o", "minimize", lambda m: 1.0, unit="a\nb"), "a text of one line"),
    ],
)
def test_what_is_wrong_with_an_objective_is_said(broken: Objective, rule: str) -> None:
    with pytest.raises(AssertionError, match=rule):
        check_objective(broken)
