"""Search under a tight budget, fine-tune the best plan, and measure it in a new process.

    python benchmarks/recovery.py MODEL DATA [--budget 550kB] [--recover 10m] [--trials 12]

Writes `benchmarks/results/recovery.{json,md}`: the plan before and after recovery, and the
control, which is the uncompressed model fine-tuned alike.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ptb_small import RESULTS, autocompress


def main() -> None:
    """Search, recover, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--budget", default="550kB")
    parser.add_argument("--recover", default="10m")
    parser.add_argument("--trials", type=int, default=12)
    arguments = parser.parse_args()
    with TemporaryDirectory() as out:
        options = ["--budget", arguments.budget, "--trials", str(arguments.trials), "--out", out]
        options += ["--recover", arguments.recover, "--data", str(arguments.data)]
        found = autocompress("search", str(arguments.model), *options)
        models = {
            "uncompressed": found["baseline"],
            f"compressed to {arguments.budget}": found["best"],
            f"after recovery, {arguments.recover}": found["recovered"][0],
            f"control, {arguments.recover}": found["controls"][0],
        }
        rows = [measure(name, model, arguments.data) for name, model in models.items()]
    (RESULTS / "recovery.json").write_text(json.dumps(rows, indent=1) + "\n")
    (RESULTS / "recovery.md").write_text(table(rows))


def measure(name: str, model: dict[str, Any], data: Path) -> dict[str, Any]:
    """Return what a new process measures on a file."""
    row: dict[str, Any] = {"name": name, "size_bytes": model["size_bytes"]}
    for split in ("valid", "test"):
        options = ["--data", str(data), "--split", split]
        row[split] = autocompress("evaluate", model["artifact"], *options)["perplexity"]
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """Return the figures as a table, changes against the uncompressed model."""
    base = rows[0]
    lines = [
        (
            "| model | file, bytes | times smaller | valid perplexity | change | "
            "test perplexity | change |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = base["size_bytes"] / row["size_bytes"]
        changes = [f"{row[split] / base[split] - 1:+.2%}" for split in ("valid", "test")]
        lines.append(
            f"| {row['name']} | {row['size_bytes']:,} | {ratio:.1f} | {row['valid']:.2f} | "
            f"{changes[0]} | {row['test']:.2f} | {changes[1]} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
