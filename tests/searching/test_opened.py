"""What is offered where nothing keeps a limit, and what a search's folder is in a notebook."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import autocompress
from autocompress.errors import SearchError
from autocompress.knowledge.guarded import guarded
from autocompress.outcome.objectives import Split
from autocompress.outcome.origin import LAST_RESORT
from autocompress.reporting.answer import summary_lines
from autocompress.searching.folder import SearchFolder
from autocompress.searching.summary import rises_beside
from autocompress.trial.evaluator import Evaluator
from autocompress.trial.noise import noise_of_change


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(16, 24), nn.Linear(24, 4)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.last(torch.tanh(self.first(values)))
        return found


def net() -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net().eval()


class Distance(autocompress.Task):
    """As strict as can be: how far what a model computes is from what the original does."""

    metric = "distance"

    def __init__(self) -> None:
        self.values = torch.randn(200, 16, generator=torch.Generator().manual_seed(1))

    def evaluate(self, model: nn.Module, split: Split) -> float:
        losses = list(self.part_losses(model, split))
        return sum(losses) / len(losses)

    def part_losses(self, model: nn.Module, split: Split) -> Iterator[float]:
        half = self.values[:100] if split == "valid" else self.values[100:]
        for part in torch.split(half, 5):
            yield 1.0 + nn.functional.mse_loss(model(part), net()(part)).item()

    def calibration_batches(self) -> Iterator[torch.Tensor]:
        yield self.values

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[torch.Tensor]:
        for part in torch.split(self.values, 20):
            yield nn.functional.mse_loss(model(part), teacher(part) + 0.1 * part[:, :4])


class Correct(Distance):
    """A metric that the losses of the parts do not tell."""

    def evaluate(self, model: nn.Module, split: Split) -> float:
        return 5.0 - super().evaluate(model, split)


@pytest.fixture(scope="module")
def opened(
    tmp_path_factory: pytest.TempPathFactory, empty_database: Path
) -> autocompress.OpenedSearch:
    """A search of two trials under a limit that none of them keeps."""
    out = tmp_path_factory.mktemp("strict")
    shutil.copy(empty_database, out)
    autocompress.search(net(), Distance(), max_rise=1e-5, trials=2, out=out, name="strict")
    return autocompress.open_search(out)


def test_there_is_always_something_to_offer(opened: autocompress.OpenedSearch) -> None:
    assert opened.best is not None
    assert opened.worsening(opened.best.values) <= 1e-5
    last = opened.trial_results()[-1]
    assert (last.number, last.family) == (opened.best.trial, LAST_RESORT)
    assert last.origin in ("half precision", "the exact numbers")
    assert opened.trials >= 3
    assert opened.nearest is not None
    assert opened.nearest.trial != opened.best.trial
    lines = summary_lines(opened)
    assert "nothing smaller keeps the limits" in lines
    assert any("of its measurement" in line for line in lines)
    study = (opened.folder / "study.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(study[-1])["state"] == "FAIL"  # nothing that the sampler could learn from


def test_the_same_search_again_offers_the_same(opened: autocompress.OpenedSearch) -> None:
    again = autocompress.search(
        net(), Distance(), max_rise=1e-5, trials=2, out=opened.folder, name="strict"
    )
    assert again.best == opened.best
    assert again.trials == opened.trials


def test_a_notebook_shows_page_table_and_pictures(opened: autocompress.OpenedSearch) -> None:
    frame = opened.to_dataframe()
    assert list(frame["trial"]) == [one.number for one in opened.trial_results()]
    assert frame.loc[frame["best"], "artifact"].tolist() == [str(opened.best.artifact)]  # type: ignore[union-attr]
    assert (frame["times_smaller"] > 1).any()
    assert "rise_percent" in frame
    assert opened._repr_html_().startswith("<iframe")
    assert opened.to_html() == (opened.folder / "front.html").read_text(encoding="utf-8")
    assert opened.plot().axes
    first = opened.trial_results()[0]
    assert opened.plot_weights(first.number).width > 600
    assert opened.plot_weights().height > 100
    with pytest.raises(SearchError, match="there is no trial 999"):
        opened.plot_weights(999)
    with pytest.raises(SearchError, match="holds no search"):
        autocompress.open_search(opened.folder / "nothing")


def test_what_was_predicted_is_kept_by_weight(opened: autocompress.OpenedSearch) -> None:
    first = opened.trial_results()[0]
    assert first.rises.keys() == net().state_dict().keys()
    assert first.predicted == pytest.approx(sum(first.rises.values()))
    path = SearchFolder(opened.folder).artifact(first.number)
    assert rises_beside(path) == first.rises
    assert rises_beside(opened.baseline.artifact) == {}
    curve = SearchFolder(opened.folder).curve()
    assert curve is not None
    assert [size for size, _ in curve.points] == sorted(size for size, _ in curve.points)
    assert [rise for _, rise in curve.points] == sorted((r for _, r in curve.points), reverse=True)
    assert {one.trial is None for one in opened.prospects} <= {True, False}
    assert len(opened.prospects) == 5


def test_the_report_tells_what_was_understood(opened: autocompress.OpenedSearch) -> None:
    report = (opened.folder / "report.md").read_text(encoding="utf-8")
    assert "| `first.weight` | 24 x 16 | Linear | linear | linear | by what they cost |" in report
    assert "## Where the bytes go: trial" in report
    assert "## What a budget buys" in report


def test_noise_is_the_paired_standard_error_of_the_parts(
    opened: autocompress.OpenedSearch,
) -> None:
    evaluator = Evaluator.of(net(), Distance())
    baseline, path = opened.baseline.artifact, SearchFolder(opened.folder).artifact(0)
    error = noise_of_change(evaluator, baseline, path)
    assert error is not None
    change = opened.trial_results()[0].values["distance"] / opened.baseline.values["distance"] - 1
    assert 0 < error < change
    other = replace(evaluator, task=guarded(Correct()))
    assert noise_of_change(other, baseline, path) is None


def test_the_public_names_are_told_without_loading_anything() -> None:
    code = (
        "import sys, autocompress; names = dir(autocompress); assert autocompress.__version__;"
        "assert {'search', 'open_search', 'load', 'Task', '__version__'} <= set(names), names;"
        "assert all(name in autocompress.__doc__ for name in names if name.islower() and "
        "name[0] != '_' );"
        "print({'torch', 'numpy', 'mlflow', 'optuna', 'pandas'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_trials_are_counted_in_one_way(opened: autocompress.OpenedSearch) -> None:
    told = json.loads((opened.folder / "result.json").read_text(encoding="utf-8"))
    assert {**told, "seconds": 0} == {**json.loads(json.dumps(opened.to_json())), "seconds": 0}
    for name in ("front.html", "report.md"):
        assert opened.counted in (opened.folder / name).read_text(encoding="utf-8")
