"""What weights really cost, measured by rounding one at a time."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from strategies import TinyTask, tiny_model
from torch import nn
from toys import Classification, teacher

from autocompress.knowledge.kept import Kept
from autocompress.knowledge.sensitivity import with_sensitivities
from autocompress.knowledge.source import Source
from autocompress.structures import Curvature


class Aimed(Classification):
    """Compares with the model's own output and noise: at its optimum, but with gradients."""

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        while True:
            batch = torch.randint(30, (1024, 8), generator=generator)
            with torch.no_grad():
                target = teacher(batch) + torch.randn(1024, 3, generator=generator)
            yield nn.functional.mse_loss(model(batch), target)


@pytest.fixture(scope="module")
def source() -> Source:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Source.of(teacher(), Aimed())


def kept_in(folder: Path) -> Kept:
    return Kept((), (folder / "kept.json",), None)


def measured(source: Source, folder: Path) -> dict[str, float]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        found = with_sensitivities(source, teacher(), Aimed(), kept_in(folder))
    return dict(found.calibration.sensitivities)


def test_their_mean_over_elements_is_one(source: Source, tmp_path: Path) -> None:
    found = measured(source, tmp_path)
    known = [name for name in found if name in source.calibration.curvatures]
    sizes = [source.weights.weights[name].values.size for name in known]
    assert np.average([found[name] for name in known], weights=sizes) == pytest.approx(1)
    assert all(value > 0 for value in found.values())
    assert any("bias" in name for name in found)


@pytest.mark.slow
def test_a_curvature_that_is_wrong_is_put_right(source: Source, tmp_path: Path) -> None:
    """Of a weight whose curvature is told four times too low, four times as much is measured."""
    curvatures = dict(source.calibration.curvatures)
    name, other = "embedding.weight", "lstm.weight_ih_l0"
    curvatures[name] = Curvature(curvatures[name].rows / 4, curvatures[name].moment)
    calibration = replace(source.calibration, curvatures=curvatures)
    right = measured(source, tmp_path)
    (tmp_path / "kept.json").unlink()
    wrong = measured(replace(source, calibration=calibration), tmp_path)
    change = (wrong[name] / wrong[other]) / (right[name] / right[other])
    assert 3 < change < 5


def test_the_model_stays_as_it_was(source: Source) -> None:
    model = teacher()
    with_sensitivities(source, model, Aimed())
    expected = teacher().state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def test_what_was_measured_is_kept(source: Source, tmp_path: Path) -> None:
    found = measured(source, tmp_path)

    class Broken(Aimed):
        def training_losses(
            self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
        ) -> Iterator[torch.Tensor]:
            raise AssertionError("measured again")

    again = with_sensitivities(source, teacher(), Broken(), kept_in(tmp_path))
    assert again.calibration.sensitivities == found


def test_what_was_kept_and_damaged_is_measured_again(source: Source, tmp_path: Path) -> None:
    found = measured(source, tmp_path)
    (tmp_path / "kept.json").write_bytes(b'{"embedding')
    assert measured(source, tmp_path) == found


def test_without_losses_nothing_is_measured() -> None:
    source = Source.of(tiny_model(), TinyTask())
    found = with_sensitivities(source, tiny_model(), TinyTask())
    assert found.calibration.sensitivities == {}
