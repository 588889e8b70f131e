"""Calibration asks the task, checks what it says, and leaves the model as it was."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from strategies import TinyTask, frequencies, tiny_model
from torch import nn

from autocompress.errors import ModelError, TaskError
from autocompress.knowledge.calibration import calibrate


class Counting(TinyTask):
    """Gives whatever counts it was made with."""

    def __init__(self, counts: Mapping[str, NDArray[Any]]) -> None:
        super().__init__()
        self.given = counts

    def row_frequencies(self, model: nn.Module) -> Mapping[str, NDArray[np.float64]]:
        del model
        return self.given


class Silent(TinyTask):
    """Has no data."""

    def calibration_batches(self) -> Iterator[torch.Tensor]:
        yield from ()


class Failing(TinyTask):
    """Cannot run its model."""

    def forward(self, model: nn.Module, batch: object) -> object:
        raise RuntimeError("mine")


def test_counts_are_kept_by_weight() -> None:
    known = calibrate(tiny_model(), TinyTask()).row_frequencies
    assert list(known) == ["embedding.weight"]
    assert np.array_equal(known["embedding.weight"], frequencies(17))


def test_counts_of_a_tied_weight_go_by_its_first_name() -> None:
    task = Counting({"decoder.weight": frequencies(17)})
    assert list(calibrate(tiny_model(), task).row_frequencies) == ["embedding.weight"]


def test_counts_may_be_integers() -> None:
    task = Counting({"head.weight": np.arange(4)})
    assert calibrate(tiny_model(), task).row_frequencies["head.weight"].dtype == np.float64


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("embedding.weight", np.ones(16)),
        ("embedding.weight", np.ones((17, 1))),
        ("embedding.weight", -np.ones(17)),
        ("embedding.weight", np.full(17, np.nan)),
        ("embedding.weight", np.full(17, np.inf)),
        ("decoder.bias", np.ones(17)),
        ("encoder.weight", np.ones(17)),
    ],
)
def test_wrong_counts_are_refused_by_name(name: str, counts: NDArray[np.float64]) -> None:
    with pytest.raises(ModelError, match=rf"`task.row_frequencies` must give .* '{name}' has"):
        calibrate(tiny_model(), Counting({name: counts}))


def test_no_batch_is_an_error() -> None:
    with pytest.raises(TaskError, match="must yield at least one batch"):
        calibrate(tiny_model(), Silent())


@pytest.mark.parametrize("task", [TinyTask(), Failing()], ids=["ok", "failing"])
def test_every_module_stays_in_its_mode(task: TinyTask) -> None:
    model = tiny_model().train()
    model.norm.eval()
    modes = [module.training for module in model.modules()]
    try:
        calibrate(model, task)
    except RuntimeError:
        assert isinstance(task, Failing)
    assert [module.training for module in model.modules()] == modes


def test_the_state_of_the_model_is_not_changed() -> None:
    model = tiny_model().train()
    calibrate(model, TinyTask())
    expected = tiny_model().state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
