"""How models of a user's own are served, and why some are not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from autocompress import Task
from autocompress.engines.torch.serving import arrays_of
from autocompress.errors import TaskError
from autocompress.knowledge.guarded import guarded
from autocompress.knowledge.serving import service_of
from autocompress.outcome.about import About, Serving, imported, inputs_of
from autocompress.outcome.objectives import Split


class Given(Task):
    """Hands out one batch."""

    metric = "loss"

    def __init__(self, batch: Any, factory: str | None = "toys:Classifier") -> None:
        self.batch, self.model_factory = batch, factory

    def evaluate(self, model: nn.Module, split: Split) -> float:
        return 0.0

    def calibration_batches(self) -> Iterator[Any]:
        yield self.batch


class OfBatches(nn.Module):
    """Takes batches of four rows alone."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values.reshape(4, -1)


def test_one_row_is_the_example_where_the_model_takes_it() -> None:
    batch = torch.arange(8.0).reshape(4, 2)
    for model, rows in ((nn.Linear(2, 3), 1), (OfBatches(), 4)):
        serving, reason = service_of(model, guarded(Given(batch)))
        assert reason is None
        assert serving is not None
        assert inputs_of(serving.example) == pytest.approx(batch[:rows].numpy())
        assert serving.settings == {"factory": "toys:Classifier"}
        assert imported(serving.settings["factory"]).__name__ == "Classifier"


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (Given(torch.zeros(1, 2), None), 'set `model_factory = "package.module:factory"`'),
        (Given((torch.zeros(1, 2), 0)), "calibration batches are no tensors"),
        (Given(torch.zeros(1, 7)), "raised RuntimeError"),
        (Given(torch.zeros(1, 2**17)), "too many numbers"),
    ],
)
def test_why_a_model_is_not_served(task: Task, reason: str) -> None:
    serving, why = service_of(nn.Linear(2, 3), guarded(task))
    assert serving is None
    assert why is not None
    assert reason in why


def test_a_task_without_a_base_class_is_asked_nothing_more() -> None:
    class Plain:
        metric = "loss"

        def evaluate(self, model: nn.Module, split: str) -> float:
            return 0.0

        def calibration_batches(self) -> list[torch.Tensor]:
            return [torch.zeros(1, 2)]

    task = guarded(Plain())
    assert task.describe_data() is None
    assert service_of(nn.Linear(2, 3), task).serving is None


def test_a_file_of_no_package_goes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loose_file_of_mine.py").write_text("def make(): ...", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = {
        factory: service_of(nn.Linear(2, 3), guarded(Given(torch.zeros(1, 2), factory))).serving
        for factory in ("loose_file_of_mine:make", "torch.nn:Linear", "json:dumps", "absent:make")
    }
    codes = {name: one.code for name, one in found.items() if one is not None}
    own = codes.pop("loose_file_of_mine:make")
    assert own == str(tmp_path / "loose_file_of_mine.py")
    assert set(codes.values()) == {None}


def test_outputs_of_all_kinds() -> None:
    one, two = torch.ones(2), torch.zeros(1)
    assert arrays_of(one).tolist() == [1, 1]
    assert {name: a.tolist() for name, a in arrays_of((one, two)).items()} == {
        "output_0": [1, 1],
        "output_1": [0],
    }
    assert isinstance(arrays_of({"logits": one})["logits"], np.ndarray)
    assert arrays_of((one, (two, two))).keys() == {"output_0"}
    wrong: Any
    for wrong in ("text", {}, ((two, two),)):
        with pytest.raises(TaskError, match="gives tensors"):
            arrays_of(wrong)


def test_what_is_told_of_a_search_round_trips() -> None:
    about = About({"trials": "3"}, None, Serving("module:Class", {"a": 1}, {"text": ["b"]}), None)
    assert About.from_json(about.to_json()) == about
    assert About.from_json(About(unserved="why").to_json()).unserved == "why"
