"""What trellis-coded quantization saves: bytes at equal error, and perplexity at equal bytes.

    python benchmarks/trellis.py MODEL DATA

For each matrix of the plan that `autocompress compress --budget 18x` makes, with all prices times
0.5 to 2: the bytes by `equal_slope` and by `trellis`, where both cost the loss as much by what its
curvature predicts. Then the whole plan by each of them, measured on validation data. Writes
`benchmarks/results/trellis.md`. Times are of the processor.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from autocompress.artifact import open_artifact
from autocompress.encoding.encoder import Encoder
from autocompress.engines.torch import TorchEngine
from autocompress.knowledge.guarded import guarded
from autocompress.knowledge.kept import Kept
from autocompress.knowledge.prediction import errors, predicted_loss_rise
from autocompress.knowledge.sensitivity import with_sensitivities
from autocompress.knowledge.source import Source
from autocompress.lm import LanguageModeling, load_model, read_corpus
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import EqualSlope, Trellis
from autocompress.searching.one_shot import compress_to_budget

RESULTS = Path(__file__).parent / "results"
TIMES = (0.5, 0.7, 1.0, 1.4, 2.0)
WHOLE = (0.7, 0.85, 1.0, 1.2)
KINDS = (EqualSlope, Trellis)


def main() -> None:
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    asked = parser.parse_args()
    model, vocabulary = load_model(asked.model)
    task = guarded(LanguageModeling(read_corpus(asked.data, vocabulary)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.acz"
        plan = compress_to_budget(model, task, "18x", path).plan
        kept = Kept.of(model, task)
        source = with_sensitivities(Source.of(model, task, kept), model, task, kept)
        encoder = Encoder(source)
        lines = [*by_matrix(encoder, plan), "", "| kind | prices | bytes | perplexity |"]
        lines.append("|---|---|---|---|")
        for kind in KINDS:
            for times in WHOLE:
                encoder.write(priced(plan, kind, times), path)
                artifact = open_artifact(path)
                score = task.evaluate(TorchEngine(model, artifact).load(artifact), "valid")
                size = artifact.size_bytes
                lines.append(
                    f"| {kind.model_fields['kind'].default} | x {times} | {size:,} | {score:.3f} |"
                )
    (RESULTS / "trellis.md").write_text("\n".join(lines) + "\n")


def priced(
    plan: CompressionPlan, kind: type[EqualSlope | Trellis], times: float
) -> CompressionPlan:
    """Return a plan with other prices, and another precision where there is one."""
    return CompressionPlan(
        treatments={
            name: Treatment(
                structure=one.structure, precision=kind(slope=one.precision.slope * times)
            )
            if isinstance(one.precision, KINDS)
            else one
            for name, one in plan.treatments.items()
        }
    )


def by_matrix(encoder: Encoder, plan: CompressionPlan) -> Iterator[str]:
    """Yield a row for each matrix."""
    yield "| weight | bits | `equal_slope`, bytes | `trellis`, bytes | saved | times as long |"
    yield "|---|---|---|---|---|---|"
    source, totals = encoder.source, np.zeros(2)
    for name, one in plan.treatments.items():
        if not isinstance(one.precision, KINDS):
            continue
        plain = [measured(encoder, plan, name, EqualSlope, times) for times in TIMES]
        size, rise, seconds = measured(encoder, plan, name, Trellis, 1.0)
        sizes, rises, spent = np.transpose(plain)
        alike = float(np.interp(np.log(rise), np.log(rises), sizes))
        bits = 8 * size / source.weights.weights[name].values.size
        totals += alike, size
        yield (
            f"| {name} | {bits:.2f} | {alike:,.0f} | {size:,} | {1 - size / alike:.1%} "
            f"| {seconds / np.median(spent):.1f} |"
        )
    yield f"| all | | {totals[0]:,.0f} | {totals[1]:,.0f} | {1 - totals[1] / totals[0]:.1%} | |"


def measured(
    encoder: Encoder,
    plan: CompressionPlan,
    name: str,
    kind: type[EqualSlope | Trellis],
    times: float,
) -> tuple[int, float, float]:
    """Return the bytes of a weight, the predicted rise of the loss, and the seconds it took."""
    treatment = priced(plan, kind, times).treatments[name]
    factors = encoder.factorize(name, treatment)
    start = time.process_time()
    _, data = encoder.encode(name, treatment, factors)
    seconds = time.process_time() - start
    source = encoder.source
    values = {key: treatment.precision.quantize(factor) for key, factor in factors.items()}
    stored = treatment.structure.reconstruct(values)
    error = errors([(slice(None), stored)], source.weights.weights[name].matrix)
    return len(data), predicted_loss_rise(source, name, error), seconds


if __name__ == "__main__":
    main()
