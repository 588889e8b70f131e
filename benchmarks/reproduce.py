"""The papers' methods on a trained model, beside this tool's plans of the same size.

    python benchmarks/reproduce.py MODEL DATA [--quick]

Runs `autocompress reproduce` and keeps its tables as `benchmarks/results/reproduce.{json,md}`, or
`reproduce_quick.{json,md}`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from ptb_small import RESULTS, autocompress


def main() -> None:
    """Reproduce, and keep the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    quick = ["--quick"] if arguments.quick else []
    name = "reproduce_quick" if quick else "reproduce"
    with TemporaryDirectory() as out:
        options = ["--model", str(arguments.model), "--data", str(arguments.data), "--out", out]
        document = autocompress("reproduce", *options, *quick)
        table = Path(out) / ("table-quick.md" if quick else "table.md")
        (RESULTS / f"{name}.md").write_text(table.read_text(encoding="utf-8"), encoding="utf-8")
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
