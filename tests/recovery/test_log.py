"""The log of a fine-tuning, also where it was interrupted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autocompress.outcome.training import TRAINING, TrainingLog
from autocompress.recovery.log import Log


def read(folder: Path) -> TrainingLog:
    return TrainingLog.from_json(json.loads((folder / TRAINING).read_text(encoding="utf-8")))


def test_losses_and_files_by_step_and_nothing_twice_after_an_interruption(tmp_path: Path) -> None:
    log = Log(tmp_path, 0)
    log.measured(0, {"ppl": 9.0})
    for end in (3, 6):
        losses = [float(end)] * 3
        log.trained(end, losses)
        assert losses == []
        log.measured(end, {"ppl": 9.0 - end})
        log.save()
    first = read(tmp_path)
    assert [step for step, _ in first.losses] == [1, 2, 3, 4, 5, 6]
    again = Log(tmp_path, 3)  # the checkpoint is from after three steps
    again.trained(6, [7.0] * 3)
    again.measured(6, {"ppl": 2.0})
    again.save()
    second = read(tmp_path)
    assert second.started == first.started
    assert second.seconds >= first.seconds
    assert second.losses == ((1, 3.0), (2, 3.0), (3, 3.0), (4, 7.0), (5, 7.0), (6, 7.0))
    assert [(step, values["ppl"]) for step, values in second.files] == [(0, 9), (3, 6), (6, 2)]


def test_a_clock_that_is_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(tmp_path, 0)
    monkeypatch.setattr("time.time", lambda: 1000.0)
    log.save()
    assert read(tmp_path).ended >= read(tmp_path).started > 1000
    assert read(tmp_path).seconds < 60


@pytest.mark.parametrize("steps", [1, 19, 20, 21, 1000])
def test_few_points_stand_for_many_steps(steps: int, tmp_path: Path) -> None:
    log = Log(tmp_path, 0)
    log.trained(steps, [float(step) for step in range(steps)])
    log.save()
    losses = read(tmp_path).losses
    assert len(losses) <= 20
    assert losses[-1][0] == steps
    width = losses[0][0]
    assert losses[0][1] == sum(range(width)) / width


def test_a_damaged_log_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / TRAINING).write_text('{"started": 1}', encoding="utf-8")
    log = Log(tmp_path, 0)
    log.trained(1, [2.0])
    log.save()
    assert read(tmp_path).losses == ((1, 2.0),)
