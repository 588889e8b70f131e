"""Low rank in blocks by token frequency against plain low rank, without retraining.

    python benchmarks/frequency_blocks.py MODEL DATA

Compresses embedding and output layer about twenty times, all else stays as it is: by a truncated
singular value decomposition, and by GroupReduce in no more bytes, its blocks and the exponent of
its rank rule chosen on validation data. Writes `benchmarks/results/frequency_blocks.{json,md}`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from ptb_small import RESULTS

from autocompress.encoding.encoder import uncompressed_plan
from autocompress.lm import LanguageModeling, load_model, read_corpus
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import Float32
from autocompress.structures import GroupReduce, LowRank, Structure
from autocompress.trial.evaluator import Evaluator

_RATIO = 20
_BLOCKS, _EXPONENTS = (5, 10, 20), (0.5, 1.0)


@dataclass(frozen=True)
class Row:
    """One way to store embedding and output layer."""

    name: str
    size_bytes: int
    valid: float
    test: float


def main() -> None:
    """Measure all ways and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    arguments = parser.parse_args()
    model, vocabulary = load_model(arguments.model)
    evaluator = Evaluator.of(model, LanguageModeling(read_corpus(arguments.data, vocabulary)))
    weights = evaluator.source.weights.weights.values()
    names = [weight.name for weight in weights if weight.role in ("embedding", "linear")]
    rows, cols = evaluator.source.weights.weights[names[0]].matrix.shape
    rank = round(rows * cols / _RATIO / (rows + cols))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.acz"

        def measure(structure: Structure | None) -> Row:
            treatments = dict(uncompressed_plan(evaluator.source).treatments)
            if structure is not None:
                treatment = Treatment(structure=structure, precision=Float32())
                treatments |= dict.fromkeys(names, treatment)
            result = evaluator.run(0, CompressionPlan(treatments=treatments), path)
            name = "uncompressed" if structure is None else structure.label()
            test = evaluator.score(path, "test")
            return Row(name, result.size_bytes, result.values["perplexity"], test)

        base, plain = measure(None), measure(LowRank(rank=rank))
        # One rank less pays for the block of every row.
        blocks = [
            measure(GroupReduce(blocks=count, rank=rank - 1, exponent=exponent))
            for count, exponent in product(_BLOCKS, _EXPONENTS)
        ]
    best = min(
        (row for row in blocks if row.size_bytes <= plain.size_bytes), key=lambda row: row.valid
    )
    write([base, plain, *blocks], best)


def write(rows: list[Row], best: Row) -> None:
    """Keep the figures, and say how the best blocks compare."""
    base, plain = rows[0], rows[1]
    (RESULTS / "frequency_blocks.json").write_text(
        json.dumps([asdict(row) for row in rows], indent=1) + "\n"
    )
    splits = ("valid", "test")
    shares = [
        (getattr(best, split) - getattr(base, split))
        / (getattr(plain, split) - getattr(base, split))
        for split in splits
    ]
    columns = [f"{split} perplexity | change" for split in splits]
    lines = [f"| embedding and output layer | file, bytes | {' | '.join(columns)} |"]
    lines += ["|---|---|---|---|---|---|", *(_cells(row, base) for row in rows), ""]
    lines += [f"Best on validation data: {best.name}. In no more bytes, perplexity rises by"]
    lines += [f"{shares[0]:.2f} of what plain low rank costs; on test data, by {shares[1]:.2f}."]
    (RESULTS / "frequency_blocks.md").write_text("\n".join(lines) + "\n")


def _cells(row: Row, base: Row) -> str:
    changes = (row.valid / base.valid - 1, row.test / base.test - 1)
    return (
        f"| {row.name} | {row.size_bytes:,} | {row.valid:.2f} | {changes[0]:+.1%} "
        f"| {row.test:.2f} | {changes[1]:+.1%} |"
    )


if __name__ == "__main__":
    main()
