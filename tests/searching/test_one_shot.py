"""One file for a budget: within it, measured as it is, the same from a warm and a cold cache."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from toys import Classification, teacher

import autocompress
from autocompress import OneShot
from autocompress.encoding.encoder import uncompressed_plan
from autocompress.errors import BudgetError
from autocompress.knowledge.source import Source

BUDGET = 9_000


class Counted(Classification):
    """Counts the losses that were asked for."""

    losses = 0

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[torch.Tensor]:
        for loss in super().training_losses(model, teacher, distillation, seed):
            self.losses += 1
            yield loss


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneShot]:
    folder = tmp_path_factory.mktemp("one shot")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield autocompress.compress_to_budget(
            teacher(), Classification(), BUDGET, folder / "new" / "model.acz"
        )


def test_the_file_is_within_the_budget_and_uses_it(made: OneShot) -> None:
    assert 0.97 * BUDGET < made.size_bytes <= BUDGET
    assert made.size_bytes == made.artifact.stat().st_size
    assert made.times_smaller == pytest.approx(made.uncompressed_bytes / made.size_bytes)


def test_it_is_measured_as_it_is(made: OneShot) -> None:
    task = Classification()
    loaded = autocompress.load(made.artifact, model=teacher())
    assert made.score == task.evaluate(loaded, "valid")
    assert made.uncompressed_score == task.evaluate(teacher(), "valid")
    assert made.rise == pytest.approx(1 - made.score / made.uncompressed_score)
    assert made.to_json()["baseline"]["valid_accuracy"] == made.uncompressed_score


def test_another_budget_needs_no_calibration(made: OneShot, tmp_path: Path) -> None:
    """And a warm cache gives the bytes that a cold one does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(made.artifact.parents[1] / "cache"))
        path, task = tmp_path / "model.acz", Counted()
        task.__class__.__qualname__ = Classification.__qualname__
        again = autocompress.compress_to_budget(teacher(), task, BUDGET, path)
        assert path.read_bytes() == made.artifact.read_bytes()
        assert again.plan == made.plan
        smaller = autocompress.compress_to_budget(teacher(), task, BUDGET // 2, path)
    assert smaller.size_bytes <= BUDGET // 2
    assert task.losses < 16  # 64 batches are calibrated with


def test_a_plan_is_carried_out(made: OneShot, tmp_path: Path) -> None:
    path = tmp_path / "model.acz"
    again = autocompress.compress_to_budget(teacher(), Classification(), made.plan, path)
    assert path.read_bytes() == made.artifact.read_bytes()
    exact = uncompressed_plan(Source.of(teacher(), Classification()))
    whole = autocompress.compress_to_budget(teacher(), Classification(), exact, path)
    assert whole.size_bytes == whole.uncompressed_bytes == again.uncompressed_bytes
    assert whole.rise == 0


def test_the_model_stays_as_it_was(tmp_path: Path) -> None:
    model = teacher().train()
    autocompress.compress_to_budget(model, Classification(), BUDGET, tmp_path / "model.acz")
    expected = teacher().state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    assert model.training


@pytest.mark.parametrize("budget", ["100B", "much"])
def test_a_budget_that_cannot_be_is_refused(budget: str, tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="budget"):
        autocompress.compress_to_budget(
            teacher(), Classification(), budget, tmp_path / "model.acz"
        )
    assert not list(tmp_path.iterdir())
