"""What was measured is found again for equal models and data, and for no others."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from toys import Classification, teacher

from autocompress.knowledge import kept as kept_module
from autocompress.knowledge.kept import Kept, cache_folder
from autocompress.knowledge.sensitivity import with_sensitivities
from autocompress.knowledge.source import Source


class Counted(Classification):
    """Counts the losses that were asked for."""

    losses = 0

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[torch.Tensor]:
        for loss in super().training_losses(model, other_teacher(), distillation, seed):
            self.losses += 1
            yield loss


class Drawn(Counted):
    """Its data differ each time."""

    passes = 0

    def calibration_batches(self) -> Iterator[torch.Tensor]:
        self.passes += 1
        yield torch.full((4, 8), self.passes)


class Unsteady(Counted):
    """Its losses differ each time."""

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[torch.Tensor]:
        for loss in super().training_losses(model, teacher, distillation, seed):
            yield loss * (1 + torch.rand(()))


def other_teacher() -> nn.Module:
    model = teacher()
    with torch.no_grad():
        model.head.weight.mul_(0.5)
    return model


@pytest.fixture
def cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in which nothing lies."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "autocompress"


def measured(task: Classification, folder: Path | None = None) -> Source:
    """Calibrate as a search does; how often the task was asked tells what was found."""
    kept = Kept.of(teacher(), task, folder)
    return with_sensitivities(Source.of(teacher(), task, kept), teacher(), task, kept)


def losses_of(task: Counted, folder: Path | None = None) -> int:
    before = task.losses
    measured(task, folder)
    return task.losses - before


def test_a_warm_cache_gives_what_a_cold_one_does(cold: Path) -> None:
    found, again = measured(Classification()).calibration, measured(Classification()).calibration
    assert found.sensitivities == again.sensitivities
    assert found.curvatures.keys() == again.curvatures.keys()
    for name, curvature in found.curvatures.items():
        arrays = again.curvatures[name].arrays
        assert arrays.keys() == curvature.arrays.keys()
        for key, array in curvature.arrays.items():
            assert array.dtype == arrays[key].dtype
            np.testing.assert_array_equal(array, arrays[key])
    assert sorted(path.suffix for path in cold.iterdir()) == [".json", ".safetensors"]


def test_what_lies_in_the_cache_is_not_measured_again(cold: Path, tmp_path: Path) -> None:
    task = Counted()
    first = losses_of(task)
    assert losses_of(task, tmp_path / "a search") == losses_of(task) < first / 8
    assert not (tmp_path / "a search").exists()
    for path in cold.iterdir():
        path.unlink()
    assert losses_of(task) == first


def scaled(model: nn.Module) -> None:
    with torch.no_grad():
        model.get_parameter("head.bias").add_(1)


def named(model: nn.Module) -> None:
    vars(model.get_submodule("lstm"))["dropout"] = 0.1


def subclassed(model: nn.Module) -> None:
    model.__class__ = type("Other", (type(model),), {})


@pytest.mark.parametrize("change", [scaled, named, subclassed])
def test_models_are_told_apart(change: Callable[[nn.Module], None]) -> None:
    model, task = teacher(), Classification()
    change(model)
    assert Kept.of(model, task) != Kept.of(teacher(), task) == Kept.of(teacher(), task)


def test_data_are_told_apart() -> None:
    class Otherwise(Classification):
        def training_losses(
            self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
        ) -> Iterator[torch.Tensor]:
            return super().training_losses(model, teacher, distillation, seed + 1)

    Otherwise.__qualname__ = Classification.__qualname__
    places = {Kept.of(other_teacher(), task) for task in (Counted(0), Counted(1), Otherwise(0))}
    assert len(places) == 3


@pytest.mark.parametrize("kind", [Drawn, Unsteady])
def test_unidentified_data_are_kept_by_a_search_alone(
    kind: type[Counted], cold: Path, tmp_path: Path
) -> None:
    task, folder = kind(), tmp_path / "a search"
    first = losses_of(task, folder)
    assert losses_of(task, folder) < first / 8
    assert not cold.exists()
    assert {path.name.partition("-")[0] for path in folder.iterdir()} == {
        "calibration",
        "sensitivities.json",
    }
    losses_of(task)
    assert not cold.exists()


@pytest.mark.parametrize("damage", [b"", b'{"a": NaN}', None])
def test_damaged_entries_are_made_anew(
    damage: bytes | None, cold: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    measured(Classification())
    whole = {path.name: path.read_bytes() for path in cold.iterdir()}
    capfd.readouterr()
    for path in cold.iterdir():
        path.unlink()
        if damage is None:
            path.mkdir()
            (path / "file").touch()
        else:
            path.write_bytes(damage)
    measured(Classification())
    assert {path.name: path.read_bytes() for path in cold.iterdir()} == whole
    assert capfd.readouterr().err.replace("\n", " ").count("is damaged: made anew") == 2


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert measured(Classification()).calibration.sensitivities
    assert "nothing is kept" in capfd.readouterr().err


@pytest.mark.parametrize("ahead", [0, 86400])
def test_the_cache_does_not_grow_without_end(
    ahead: int, cold: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor where the clock was ahead by a day when it was filled."""
    measured(Classification())
    for path in cold.iterdir():
        os.utime(path, (time.time() + ahead,) * 2)
    first = {path.name for path in cold.iterdir()}
    monkeypatch.setattr(kept_module, "_MOST_BYTES", sum(p.stat().st_size for p in cold.iterdir()))
    measured(Classification(1))
    left = {path.name for path in cold.iterdir()}
    assert len(left - first) == 2
    assert not first <= left


@pytest.mark.parametrize("base", ["", "relative/folder"])
def test_the_cache_lies_at_home_by_default(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", base)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "autocompress"
