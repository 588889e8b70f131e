"""How long one core takes to compress a model by one plan, and to load the file again.

    python benchmarks/speed.py MODEL DATA [--budget 1.15MB]

The plan is the one that a search under the budget tries first; what training data tell of the
model has been measured before. Processor time, one thread, medians of five runs. Writes
`benchmarks/results/speed.md`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from coding import seconds
from fitting import fitted_plan
from ptb_small import RESULTS

import autocompress
from autocompress.encoding.encoder import Encoder
from autocompress.knowledge.source import Source
from autocompress.lm import LanguageModeling, load_model, read_corpus
from autocompress.outcome.limits import Budget


def main() -> None:
    """Time both, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--budget", default="1.15MB")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, vocabulary = load_model(arguments.model)
    source = Source.of(model, LanguageModeling(read_corpus(arguments.data, vocabulary)))
    plan = fitted_plan(source, Budget.parse(arguments.budget))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.acz"
        compressing = seconds(lambda: Encoder(source).write(plan, path))
        loading = seconds(lambda: autocompress.load(path))
        size = path.stat().st_size
    lines = [
        "| file, bytes | compress by one plan, s | load into a running module, s |",
        "|---|---|---|",
        f"| {size:,} | {compressing:.2f} | {loading:.2f} |",
    ]
    (RESULTS / "speed.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
