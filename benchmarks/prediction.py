"""The rise of the loss that curvatures predict, against the one that is measured.

    python benchmarks/prediction.py MODEL DATA

Treats one weight of a language model at a time, and all of them together, at several prices of a
bit; measures the perplexity of each file on validation data. Writes
`benchmarks/results/prediction.{md,png}`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from ptb_small import RESULTS

from autocompress import open_artifact
from autocompress.encoding.encoder import uncompressed_plan
from autocompress.lm import LanguageModeling, load_model, read_corpus
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import EqualSlope
from autocompress.structures import Dense, LowRank
from autocompress.trial.evaluator import Evaluator

SLOPES = (1e-9, 1e-8, 1e-7, 3e-7)


class Point(NamedTuple):
    """One file: what was treated at which price, and by how many nats the loss rose."""

    treated: str
    slope: float
    predicted: float
    measured: float


def main() -> None:
    """Measure all points, and write table and picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    arguments = parser.parse_args()
    model, vocabulary = load_model(arguments.model)
    evaluator = Evaluator.of(model, LanguageModeling(read_corpus(arguments.data, vocabulary)))
    with TemporaryDirectory() as folder:
        points = list(measure(evaluator, Path(folder) / "model.acz"))
    write(points)
    draw(points, RESULTS / "prediction.png")


def measure(evaluator: Evaluator, path: Path) -> Iterator[Point]:
    """Yield a point for each weight and price, then for all weights at each price."""
    source = evaluator.source
    whole = uncompressed_plan(source)
    base = math.log(evaluator.run(0, whole, path).values["perplexity"])
    names = list(source.calibration.curvatures)
    for treated in (*([name] for name in names), names):
        for slope in SLOPES:
            treatments = {name: treatment(evaluator, name, slope) for name in treated}
            plan = CompressionPlan(treatments={**whole.treatments, **treatments})
            perplexity = evaluator.run(0, plan, path).values["perplexity"]
            label = treated[0] if len(treated) == 1 else "all weights"
            yield Point(label, slope, predicted(evaluator, path), math.log(perplexity) - base)


def treatment(evaluator: Evaluator, name: str, slope: float) -> Treatment:
    """Return what the search space `size` begins with for a weight."""
    known = evaluator.source.calibration.row_frequencies
    width = min(evaluator.source.weights.weights[name].matrix.shape)
    structure = LowRank(rank=width, fit="loss") if name in known else Dense()
    return Treatment(structure=structure, precision=EqualSlope(slope=slope))


def predicted(evaluator: Evaluator, path: Path) -> float:
    """Return the predicted rise for the errors that a file makes, in nats."""
    state = open_artifact(path).state_dict()
    source = evaluator.source
    return sum(
        curvature.rise(state[name] - source.weights.weights[name].values)
        for name, curvature in source.calibration.curvatures.items()
    )


def write(points: list[Point]) -> None:
    """Write the table."""
    lines = [
        "| treated | price of a bit | predicted rise, nats | measured rise, nats | ratio |",
        "|---|---|---|---|---|",
    ]
    for point in points:
        ratio = point.measured / point.predicted
        lines.append(
            f"| {point.treated} | {point.slope:g} | {point.predicted:.5f} "
            f"| {point.measured:.5f} | {ratio:.2f} |"
        )
    (RESULTS / "prediction.md").write_text("\n".join(lines) + "\n")


def draw(points: list[Point], path: Path) -> None:
    """Draw measured over predicted rises on logarithmic axes, beside the line of equality."""
    mpl.use("Agg")
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for treated in dict.fromkeys(point.treated for point in points):
        own = [p for p in points if p.treated == treated and p.measured > 0]
        marker = "D" if treated == "all weights" else "o"
        predictions, measures = [p.predicted for p in own], [p.measured for p in own]
        axes.plot(predictions, measures, marker=marker, markersize=5, linewidth=1, label=treated)
    rises = np.array([p.predicted for p in points])
    ends = np.array([rises.min(), rises.max()])
    axes.plot(ends, ends, color="grey", linestyle="--", linewidth=1, label="as predicted")
    axes.set(xscale="log", yscale="log")
    axes.set(xlabel="predicted rise of the loss, nats", ylabel="measured rise, nats")
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
