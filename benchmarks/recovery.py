"""Search under tight budgets, fine-tune the best plans, and measure them in new processes.

    python benchmarks/recovery.py MODEL DATA [--budgets 310kB 600kB 930kB] [--recover 25m]

Runs `autocompress search --recover` as a user would. Writes `benchmarks/results/NAME.{json,md}`:
every plan before and after recovery, and the control, which is the uncompressed model fine-tuned
alike. It does not depend on the budget, and so is trained with the first one only.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ptb_small import RESULTS, autocompress


def main() -> None:
    """Search, recover, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--budgets", nargs="+", default=["310kB", "600kB", "930kB"])
    parser.add_argument("--recover", default="25m")
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--name", default="recovery")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory() as folder:
        control: Path | None = None
        for budget in arguments.budgets:
            out = Path(folder) / budget
            if control is not None:
                shutil.copytree(control, out / control.relative_to(control.parents[1]))
            options = ["--budget", budget, "--trials", str(arguments.trials), "--out", str(out)]
            options += ["--recover", arguments.recover, "--data", str(arguments.data)]
            clock = time.perf_counter()
            found = autocompress("search", str(arguments.model), *options)
            wall = time.perf_counter() - clock
            if control is None:
                control = Path(found["controls"][0]["artifact"]).parent
                rows.append(measure("uncompressed", "uncompressed", found["baseline"], arguments))
                rows.append(measure("control", "control", found["controls"][0], arguments))
            fitted = min(found["front"], key=lambda one: float(one["valid_perplexity"]))
            rows.append(measure(f"{budget}", "fitted", fitted, arguments))
            rows.append(measure(f"{budget}", "recovered", found["recovered"][0], arguments))
            rows[-1]["wall_s"] = round(wall, 1)
            # What is finished is kept, should a later budget fail.
            (RESULTS / f"{arguments.name}.json").write_text(json.dumps(rows, indent=1) + "\n")
    (RESULTS / f"{arguments.name}.md").write_text(table(rows, arguments.recover))


def measure(
    name: str, track: str, model: dict[str, Any], arguments: argparse.Namespace
) -> dict[str, Any]:
    """Return what a new process measures on a file."""
    row: dict[str, Any] = {"name": name, "track": track, "size_bytes": model["size_bytes"]}
    for split in ("valid", "test"):
        options = ["--data", str(arguments.data), "--split", split]
        row[split] = autocompress("evaluate", model["artifact"], *options)["perplexity"]
    return row


def table(rows: list[dict[str, Any]], recover: str) -> str:
    """Return the figures as a table, changes against the uncompressed model and the control."""
    base = next(row for row in rows if row["track"] == "uncompressed")
    control = next(row for row in rows if row["track"] == "control")
    titles = {
        "uncompressed": "uncompressed",
        "control": f"control, {recover}",
        "fitted": "{}, without recovery",
        "recovered": f"{{}}, recovery of {recover}",
    }
    lines = [
        (
            "| model | file, bytes | times smaller | valid perplexity | change | "
            "test perplexity | change | valid, against control |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = base["size_bytes"] / row["size_bytes"]
        changes = [f"{row[split] / base[split] - 1:+.2%}" for split in ("valid", "test")]
        lines.append(
            f"| {titles[row['track']].format(row['name'])} | {row['size_bytes']:,} | {ratio:.1f} "
            f"| {row['valid']:.2f} | {changes[0]} | {row['test']:.2f} | {changes[1]} "
            f"| {row['valid'] / control['valid'] - 1:+.2%} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
