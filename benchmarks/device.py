"""What a GPU is worth: calibration, evaluation and recovery, and the file from either.

    python benchmarks/device.py [--steps 500]

Works on the Penn Treebank and `ptb-medium`, in `shared/` beside the checkout, and writes
`benchmarks/results/device.md`. Where there is no GPU, the processor alone is measured, and the
table says so.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import torch
from torch import nn

from autocompress.artifact import open_artifact
from autocompress.encoding.encoder import Encoder
from autocompress.engines.torch import load
from autocompress.knowledge.guarded import guarded
from autocompress.knowledge.source import Source
from autocompress.layers.copies import on_device
from autocompress.lm import LanguageModeling, load_model, read_corpus
from autocompress.plan import CompressionPlan
from autocompress.recovery import RecoveryBudget, RecoverySettings, recover
from autocompress.searching.openings.allocation import allocated_to_budget
from autocompress.searching.openings.menus import menus
from autocompress.searching.space.language import load_space
from autocompress.trial.evaluator import Evaluator
from autocompress.trial.measuring import engine_of, objectives_of

SHARED = Path(__file__).parents[2] / "shared"
RESULTS = Path(__file__).parent / "results"
TIMES_SMALLER, SEGMENTS = 20, 5
_Found = TypeVar("_Found")


def main() -> None:
    """Measure on each device and write the table."""
    parser = argparse.ArgumentParser(description="CPU against GPU")
    parser.add_argument("--steps", type=int, default=500, help="of recovery")
    steps: int = parser.parse_args().steps
    devices = ["cpu"] + ["cuda"] * torch.cuda.is_available()
    model, vocabulary = load_model(SHARED / "models" / "ptb-medium")
    task = LanguageModeling(read_corpus(SHARED / "data" / "ptb", vocabulary))
    plan: CompressionPlan | None = None
    rows = []
    for device in devices:
        row, plan = measured(on_device(model, device), task, device, plan, steps)
        rows.append(row)
    about = (
        f"`ptb-medium`, {TIMES_SMALLER} times smaller, one plan; PyTorch {torch.__version__}, "
        f"{os.cpu_count()} processor cores ({platform.processor() or platform.machine()})."
    )
    columns = (
        "| device | calibration, s | evaluation, s | perplexity | file, its perplexity "
        f"| recovery of {steps} steps, s | recovered, its perplexity |"
    )
    lines = [
        about,
        "" if len(devices) > 1 else "No GPU was there: the processor alone was measured.",
        "",
        columns,
        "|---|---:|---:|---:|---:|---:|---:|",
        *rows,
    ]
    (RESULTS / "device.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def measured(
    model: nn.Module, task: LanguageModeling, device: str, plan: CompressionPlan | None, steps: int
) -> tuple[str, CompressionPlan]:
    """Return a row of the table, and the plan of the file, which is the same for all devices."""
    with TemporaryDirectory() as name:
        folder, own = Path(name), guarded(task)
        score, evaluation = timed(lambda: own.evaluate(model, "valid"))
        source, calibration = timed(lambda: Source.of(model, own))
        encoder = Encoder(source)
        limit = sum(one.values.nbytes for one in source.weights.weights.values()) // TIMES_SMALLER
        if plan is None:
            space = load_space("quick")
            offered = menus(space, encoder)
            plan = allocated_to_budget(offered, space, encoder, limit).plan
        path = folder / "file.acz"
        encoder.write(plan, path)
        stored = own.evaluate(on_device(load(path), device), "valid")
        engine = engine_of("torch", model, encoder)
        evaluator = Evaluator(encoder, engine, own, objectives_of(own))
        settings = RecoverySettings(RecoveryBudget(steps=steps), segments=SEGMENTS)
        tuned, recovery = timed(
            lambda: recover(model, own, evaluator, plan, folder / "tuned", settings, 0)
        )
        size = open_artifact(path).size_bytes
    cells = [device, f"{calibration:.1f}", f"{evaluation:.1f}", f"{score:.3f}"]
    cells += [f"{size:,} bytes, {stored:.3f}", f"{recovery:.0f}"]
    cells.append(f"{tuned.size_bytes:,} bytes, {tuned.values[task.metric]:.3f}")
    return f"| {' | '.join(cells)} |", plan


def timed(work: Callable[[], _Found]) -> tuple[_Found, float]:
    """Return what some work gives, and the seconds that it took."""
    start = time.perf_counter()
    found = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return found, time.perf_counter() - start


if __name__ == "__main__":
    main()
