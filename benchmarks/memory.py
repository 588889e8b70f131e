"""How much memory compressing a wide model takes, as a multiple of the model's own.

    python benchmarks/memory.py [NAME...] > benchmarks/results/memory.md

Each row is a process of its own. What it held at most, less what one holds that goes through the
same steps with a model of no size, is told as a multiple of the model in single precision: the
model itself is one of them.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_LINEAR, _EMBEDDING = "Linear(50000, 64)", "Embedding(200000, 512)"
_SIZES = {_LINEAR: (50_000, 64), _EMBEDDING: (200_000, 512)}
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


def _child(step: str, first: int, second: int, kind: str) -> None:
    import torch
    from torch import nn
    from torch.nn import functional

    import autocompress as ac

    class Classifier(nn.Module):
        """A wide layer, and a narrow one behind it."""

        def __init__(self) -> None:
            super().__init__()
            layers: dict[str, Any] = {_LINEAR: nn.Linear, _EMBEDDING: nn.Embedding}
            self.wide: nn.Module = layers[kind](first, second)
            self.narrow = nn.Linear(second, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.wide(x)
            scores: torch.Tensor = self.narrow(torch.relu(h if kind == _LINEAR else h.mean(dim=1)))
            return scores

    class Classes(ac.Task):
        """Batches of eight."""

        metric = "loss"

        def __init__(self) -> None:
            inputs = (
                [torch.randn(8, first) for _ in range(2)]
                if kind == _LINEAR
                else [torch.randint(first, (8, 16)) for _ in range(2)]
            )
            self.batches = [(x, torch.randint(4, (8,))) for x in inputs]

        def loss(self, model: nn.Module, batch: _Batch) -> torch.Tensor:
            return functional.cross_entropy(model(batch[0]), batch[1])

        def evaluate(self, model: nn.Module, split: str) -> float:
            del split
            with torch.no_grad():
                return sum(self.loss(model, batch).item() for batch in self.batches) / 2

        def calibration_batches(self) -> Iterator[_Batch]:
            yield from self.batches

        def forward(self, model: nn.Module, batch: _Batch) -> Any:
            return model(batch[0])

        def training_losses(self, model: nn.Module, *_: Any) -> Iterator[torch.Tensor]:
            while "without" not in step:
                for batch in self.batches:
                    yield self.loss(model, batch)

    torch.manual_seed(0)
    model, task = Classifier(), Classes()
    with tempfile.TemporaryDirectory() as folder:
        if step in _TREATMENTS:
            structure, precision = _TREATMENTS[step]
            exact = {"structure": {"kind": "dense"}, "precision": {"kind": "float32"}}
            treatments = dict.fromkeys(model.state_dict(), exact)
            treatments["wide.weight"] = {"structure": structure, "precision": precision}
            plan = ac.CompressionPlan.from_json({"treatments": treatments})
            artifact = ac.compress(model, plan, task, _file(kind, first))
            print(f"{artifact.size_bytes} bytes")
        elif step.startswith("search"):
            budget = f"{max(first * second // 2, 20_000)}B"
            result = ac.search(model, task, out=folder, budget=budget, trials=3)
            print(result.best and result.best.values)
        elif step == "load":
            ac.load(_file(kind, first), model=model)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _file(kind: str, first: int) -> Path:
    return Path(tempfile.gettempdir()) / f"memory-{kind[:4]}-{first}.acz"


def main(chosen: list[str]) -> None:
    """Measure all steps, or those of the models and the steps named."""
    print("| model | step | MB at most | beyond an empty model | times the model |")
    print("|---|---|---|---|---|")
    for kind, (first, second) in _SIZES.items():
        n_bytes = 4.0 * first * second
        for step in _STEPS:
            if chosen and not {kind[:4].lower(), step} & set(chosen):
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
