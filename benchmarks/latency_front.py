"""A front of three objectives: file size, perplexity and latency in ONNX Runtime.

    python benchmarks/latency_front.py MODEL DATA OUT

Runs `autocompress search MODEL --data DATA --space latency --trials 26 --out OUT`, or takes that
search as it is if it is finished. In that space weights run as they are stored: in 4 bits they
are smaller but slower, in 8 bits larger but faster. Writes
`benchmarks/results/latency_front.{md,png}`.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from ptb_small import RESULTS

from autocompress import search
from autocompress.lm import LanguageModeling, load_model, read_corpus
from autocompress.outcome.names import LATENCY
from autocompress.outcome.results import SearchResult

TRIALS = 26


def table(result: SearchResult) -> str:
    """Return the front as a table, smallest file first."""
    lines = [
        "| trial | file, bytes | ONNX, MB | valid perplexity | change | x fp32 | plan |",
        "|---:|---:|---:|---:|---:|---:|---|",
    ]
    for one in (result.baseline, *result.front):
        assert one.onnx is not None
        cells = [
            "uncompressed" if one.trial is None else str(one.trial),
            f"{one.size_bytes:,}",
            f"{one.onnx.stat().st_size / 1e6:.2f}",
            f"{one.values[result.metric]:.2f}",
            f"{100 * result.rise(one):+.2f}%",
            f"{one.values[LATENCY]:.3f}",
            one.label,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Search, and keep the front."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("model", "data", "out"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    model, vocabulary = load_model(arguments.model)
    task = LanguageModeling(read_corpus(arguments.data, vocabulary))
    name = arguments.model.name
    result = search(model, task, space="latency", trials=TRIALS, out=arguments.out, name=name)
    (RESULTS / "latency_front.md").write_text(table(result), encoding="utf-8")
    shutil.copy(arguments.out / "front.png", RESULTS / "latency_front.png")
    print(table(result))


if __name__ == "__main__":
    main()
