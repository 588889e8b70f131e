"""What a trial costs beside its measurement: proposing a plan, Optuna's journal, and MLflow.

    python benchmarks/tracking.py

Proposes, keeps and logs 300 trials of a 2x200 LSTM of 10,000 words in the search space `size`,
with a 2 MB file each and made-up scores, and writes `benchmarks/results/tracking.md`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch

from autocompress.encoding.encoder import Encoder
from autocompress.knowledge.calibration import Calibration
from autocompress.knowledge.source import Source
from autocompress.knowledge.weights import ModelWeights, find_sites
from autocompress.lm import LanguageModel, LanguageModelConfig
from autocompress.outcome.metric import Direction
from autocompress.outcome.results import TrialResult
from autocompress.plan import CompressionPlan
from autocompress.searching.folder import SearchFolder
from autocompress.searching.space.language import load_space
from autocompress.searching.space.questions import ask_plan
from autocompress.searching.study import Study
from autocompress.tracking import Tracker, Yardstick

RESULTS = Path(__file__).parent / "results"
TRIALS, WORDS, LAST = 300, 10_000, 50


def main() -> None:
    """Log the trials and write the table."""
    source, space = make_source(), load_space("size")
    times: dict[str, list[float]] = {"proposing": [], "keeping": [], "logging": []}

    @contextmanager
    def timed(part: str) -> Iterator[None]:
        clock = time.perf_counter()
        yield
        times[part].append(time.perf_counter() - clock)

    with TemporaryDirectory() as path:
        folder = SearchFolder(Path(path))
        clock = time.perf_counter()
        directions: dict[str, Direction] = {"size_bytes": "minimize", "perplexity": "minimize"}
        baseline = {"size_bytes": 18_649_018, "perplexity": 117.2}
        yardstick = Yardstick("perplexity", directions, baseline, 4_653_200, "perplexity")
        tracker = Tracker(folder.path, "benchmark", {"budget": "2 MB"}, yardstick)
        opening = time.perf_counter() - clock
        study = Study(folder.path / "journal", directions, "tpe", 0, {})
        for number in range(TRIALS):
            with timed("proposing"):
                plan = ask_plan(space, source, study.ask())
            artifact = folder.artifact(number)
            artifact.parent.mkdir(parents=True)
            if number == 0:
                Encoder(source).write(four_bits(source), artifact)
            else:
                shutil.copy(folder.artifact(0), artifact)
            result = scored(number, plan)
            with timed("keeping"):
                folder.save_trial(result)
                study.tell(result)
            with timed("logging"):
                tracker.log_trial(result, artifact)
        tracker.end("FINISHED")
    write(opening, times)


def make_source() -> Source:
    """Return a model of random weights, of whose words the counts are known."""
    model = LanguageModel(LanguageModelConfig("lstm", WORDS, 200, 200, num_layers=2)).eval()
    counts = 1e6 / np.arange(1, WORDS + 1)
    names = ("embedding.weight", "decoder.weight")
    words = torch.zeros(3, 2, dtype=torch.int64)
    sites = find_sites(model, lambda: model(words))
    return Source(ModelWeights.of(model), Calibration(dict.fromkeys(names, counts), sites))


def four_bits(source: Source) -> CompressionPlan:
    """Return a plan of about 2 MB."""
    precision = {"kind": "uniform", "bits": 4, "group": "row"}
    treatment = {"structure": {"kind": "dense"}, "precision": precision}
    return CompressionPlan.from_json(
        {"treatments": dict.fromkeys(source.weights.weights, treatment)}
    )


def scored(number: int, plan: CompressionPlan) -> TrialResult:
    """Return a trial with scores of no meaning, no two alike."""
    values = {"size_bytes": 2_000_000.0 - 1000 * number, "perplexity": 118.0 + number % 17}
    return TrialResult(number, plan, values, True, time.time(), 2.0, 3.0)


def write(opening: float, times: dict[str, list[float]]) -> None:
    """Write the table."""
    lines = [
        f"| wall time, s | median of {TRIALS} trials | of the last {LAST} | slowest |",
        "|---|---|---|---|",
    ]
    times["in all"] = [sum(parts) for parts in zip(*times.values(), strict=True)]
    for part, seconds in times.items():
        last = median(seconds[-LAST:])
        lines.append(f"| {part} | {median(seconds):.3f} | {last:.3f} | {max(seconds):.3f} |")
    lines.append(f"| making the database, once | {opening:.1f} | | |")
    (RESULTS / "tracking.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
