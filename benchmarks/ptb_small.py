"""Search a trained PTB model at several budgets and measure every result in a new process.

    python benchmarks/ptb_small.py MODEL DATA [--budgets 2MB 1.5MB 1MB] [--trials 40]

Runs `autocompress search` as a user would, then `autocompress evaluate` on the best file, and
writes `benchmarks/results/ptb_small.{json,md,png}`. No retraining takes place.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run all budgets and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--budgets", nargs="+", default=["2MB", "1.5MB", "1MB"])
    parser.add_argument("--trials", type=int, default=40)
    arguments = parser.parse_args()
    rows = []
    with TemporaryDirectory() as folder:
        for budget in arguments.budgets:
            out = Path(folder) / budget
            rows.append(measure(arguments.model, arguments.data, budget, arguments.trials, out))
            if budget == arguments.budgets[0]:
                shutil.copy(out / "front.png", RESULTS / "ptb_small.png")
    write(rows)


def measure(model: Path, data: Path, budget: str, trials: int, out: Path) -> dict[str, Any]:
    """Search at one budget; return what a new process measures on the best file."""
    options = ["--budget", budget, "--trials", str(trials), "--seed", "0", "--out", str(out)]
    clock = time.perf_counter()
    found = autocompress("search", str(model), "--data", str(data), *options)
    wall = time.perf_counter() - clock
    best, baseline = found["best"], found["baseline"]
    row: dict[str, Any] = {"budget": budget, "trials": found["trials"], "wall_s": round(wall, 1)}
    row["seconds_per_trial"] = median_seconds(out)
    row["baseline"] = baseline
    for split in ("valid", "test"):
        again = autocompress("evaluate", best["artifact"], "--data", str(data), "--split", split)
        row["size_bytes"] = again["size_bytes"]
        row[split] = again["perplexity"]
    return row


def autocompress(*arguments: str) -> dict[str, Any]:
    """Run a command in a new process and return the JSON document that it prints."""
    command = [sys.executable, "-m", "autocompress", *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def median_seconds(out: Path) -> float:
    """Return the median wall time of the trials that were measured, in seconds."""
    trials = [json.loads(path.read_text()) for path in out.glob("trials/[0-9]*/trial.json")]
    seconds = sorted(trial["seconds"] for trial in trials if trial["feasible"])
    return round(float(seconds[len(seconds) // 2]), 2)


def write(rows: list[dict[str, Any]]) -> None:
    """Write the figures as JSON and as a table."""
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    document = {"machine": machine, "python": platform.python_version(), "rows": rows}
    (RESULTS / "ptb_small.json").write_text(json.dumps(document, indent=1) + "\n")
    base = rows[0]["baseline"]
    lines = [
        (
            "| budget | file, bytes | times smaller | valid perplexity | change | test perplexity "
            "| change | search, s | median trial, s |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
        (
            f"| uncompressed | {base['size_bytes']:,} | 1.0 | {base['valid_perplexity']:.2f} | | "
            f"{base['test_perplexity']:.2f} | | | |"
        ),
    ]
    for row in rows:
        ratio = base["size_bytes"] / row["size_bytes"]
        changes = [row[split] / base[f"{split}_perplexity"] - 1 for split in ("valid", "test")]
        lines.append(
            f"| {row['budget']} | {row['size_bytes']:,} | {ratio:.1f} | {row['valid']:.2f} | "
            f"{changes[0]:+.2%} | {row['test']:.2f} | {changes[1]:+.2%} | {row['wall_s']:.0f} | "
            f"{row['seconds_per_trial']:.1f} |"
        )
    (RESULTS / "ptb_small.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
