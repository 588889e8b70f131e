"""What keeping a trial costs: Optuna's journal and MLflow, beside the trial itself.

    python benchmarks/tracking.py

Logs 300 trials with a 2 MB file each and writes `benchmarks/results/tracking.md`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import EntropyStep
from autocompress.results import TrialResult
from autocompress.structures import Dense
from autocompress.tracking import Tracker

RESULTS = Path(__file__).parent / "results"
TRIALS = 300
WEIGHTS = [f"lstm.weight_{number}" for number in range(11)]


def main() -> None:
    """Log the trials and write the table."""
    with TemporaryDirectory() as folder:
        artifact = Path(folder) / "model.acz"
        artifact.write_bytes(os.urandom(2_000_000))
        clock = time.perf_counter()
        tracker = Tracker(Path(folder), "benchmark", {"budget": "2 MB"})
        opening = time.perf_counter() - clock
        walls, cpus = [], []
        for number in range(TRIALS):
            wall, cpu = time.perf_counter(), time.process_time()
            tracker.log_trial(trial(number), artifact)
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
        tracker.end("FINISHED")
    lines = [
        "| | wall, s | processor, s |",
        "|---|---|---|",
        f"| making the database | {opening:.1f} | |",
        f"| a trial, median of {TRIALS} | {median(walls):.3f} | {median(cpus):.3f} |",
        f"| a trial, slowest | {max(walls):.3f} | {max(cpus):.3f} |",
    ]
    (RESULTS / "tracking.md").write_text("\n".join(lines) + "\n")


def trial(number: int) -> TrialResult:
    """Return a trial with eleven weights."""
    treatment = Treatment(structure=Dense(), precision=EntropyStep(step=0.1 + number / TRIALS))
    plan = CompressionPlan(treatments=dict.fromkeys(WEIGHTS, treatment))
    values = {"size_bytes": 2_000_000.0, "perplexity": 118.0}
    return TrialResult(number, plan, values, True, time.time(), 2.0, 3.0)


if __name__ == "__main__":
    main()
