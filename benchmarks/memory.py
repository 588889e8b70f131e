"""How much memory compressing a wide model takes, as a multiple of the model's own.

    python benchmarks/memory.py [MODEL|STEP...] > benchmarks/results/memory.md

Each row is a process of its own. What it held at most, less what one holds that goes through the
same steps with a model of no size, is told as a multiple of the model in single precision: the
model itself is one of them.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import autocompress as ac

_LINEAR, _WIDER = "Linear(50000, 64)", "Linear(50000, 512)"
_EMBEDDING = "Embedding(200000, 512)"
_SIZES = {_LINEAR: (50_000, 64), _WIDER: (50_000, 512), _EMBEDDING: (200_000, 512)}
_Batch = tuple[Any, Any]
_TREATMENTS: dict[str, list[dict[str, Any]]] = {
    "uniform": [{"kind": "dense"}, {"kind": "uniform", "bits": 8}],
    "equal slope": [{"kind": "dense"}, {"kind": "equal_slope", "slope": 1e-9}],
    "low rank": [{"kind": "low_rank", "rank": 8}, {"kind": "uniform", "bits": 8}],
    "low rank by loss": [
        {"kind": "low_rank", "rank": 8, "fit": "loss"},
        {"kind": "equal_slope", "slope": 1e-9},
    ],
    "vector quantized": [
        {"kind": "vector_quantized", "dimension": 4, "bits": 4},
        {"kind": "float16"},
    ],
}
_STEPS = ["the model", *_TREATMENTS, "load", "search", "search without losses"]


def _measured(step: str, size: tuple[int, int], kind: str) -> float:
    """Return the bytes that a process held at most; `load` finds the file that is left there."""
    arguments = json.dumps([step, *size, kind])
    command = [sys.executable, __file__, "--child", arguments]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(found.stdout.splitlines()[-1]) * 1024


class Classifier(nn.Module):
    """A wide layer, and a narrow one behind it."""

    def __init__(self, kind: str, first: int, second: int) -> None:
        super().__init__()
        self.is_linear = kind != _EMBEDDING
        self.wide = nn.Linear(first, second) if self.is_linear else nn.Embedding(first, second)
        self.narrow = nn.Linear(second, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (batch, 4) of vectors, or of ids whose rows are averaged."""
        h = self.wide(x)
        scores: Tensor = self.narrow(torch.relu(h if self.is_linear else h.mean(dim=1)))
        return scores


class Classes(ac.Task):
    """Two batches of eight inputs, drawn when they are needed; with or without losses."""

    metric = "loss"

    def __init__(self, model: Classifier, first: int, *, has_losses: bool) -> None:
        self.has_losses = has_losses
        self._draw = torch.randn if model.is_linear else partial(torch.randint, first)
        self._sizes = (8, first) if model.is_linear else ((8, 16),)

    def calibration_batches(self) -> Iterator[_Batch]:
        """Yield both."""
        for seed in range(2):
            generator = torch.Generator().manual_seed(seed)
            x = self._draw(*self._sizes, generator=generator)
            yield x, torch.randint(4, (8,), generator=generator)

    def evaluate(self, model: nn.Module, split: str) -> float:
        """Return the mean loss, of either split."""
        del split
        with torch.no_grad():
            return sum(_loss(model, batch).item() for batch in self.calibration_batches()) / 2

    def forward(self, model: nn.Module, batch: _Batch) -> Any:
        """Run a model on the inputs."""
        return model(batch[0])

    def training_losses(self, model: nn.Module, *_: Any) -> Iterator[Tensor]:
        """Yield the losses of both for ever, or none."""
        while self.has_losses:
            for batch in self.calibration_batches():
                yield _loss(model, batch)


def _loss(model: nn.Module, batch: _Batch) -> Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1])


def _child(step: str, first: int, second: int, kind: str) -> None:
    torch.manual_seed(0)
    model = Classifier(kind, first, second)
    task = Classes(model, first, has_losses="without" not in step)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder  # what was measured before must be measured again
        if step in _TREATMENTS:
            _compress(model, task, step, _file(kind, first))
        elif step.startswith("search"):
            budget = f"{max(first * second // 2, 20_000)}B"
            ac.search(model, task, out=folder, budget=budget, trials=3)
        elif step == "load":
            ac.load(_file(kind, first), model=model)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _compress(model: nn.Module, task: ac.Task, name: str, path: Path) -> None:
    structure, precision = _TREATMENTS[name]
    exact = {"structure": {"kind": "dense"}, "precision": {"kind": "float32"}}
    treatments = dict.fromkeys(model.state_dict(), exact)
    treatments["wide.weight"] = {"structure": structure, "precision": precision}
    ac.compress(model, ac.CompressionPlan.from_json({"treatments": treatments}), task, path)


def _file(kind: str, first: int) -> Path:
    return Path(tempfile.gettempdir()) / f"memory-{kind}-{first}.acz"


def main(chosen: list[str]) -> None:
    """Measure all steps, or those of the models and the steps named."""
    print("| model | step | MB at most | beyond an empty model | times the model |")
    print("|---|---|---|---|---|")
    for kind, (first, second) in _SIZES.items():
        n_bytes = 4.0 * first * second
        for step in _STEPS:
            models = set(_SIZES) & set(chosen) or set(_SIZES)
            if kind not in models or step not in (set(_STEPS) & set(chosen) or set(_STEPS)):
                continue
            empty = _measured(step, (16, 8), kind)
            most = _measured(step, (first, second), kind)
            row = (
                f"{most / 1e6:,.0f} | {(most - empty) / 1e6:,.0f} | {(most - empty) / n_bytes:.1f}"
            )
            print(f"| {kind} | {step} | {row} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _child(*json.loads(sys.argv[2]))
    else:
        main(sys.argv[1:])
