"""How many full evaluations a search needs: this tool's, and plain samplers in the same space.

    python benchmarks/search_efficiency.py MODEL DATA

Plain TPE, NSGA-II and random search make 250 full evaluations each with three seeds, this tool's
search at most 25; all in the search space `size`, scored on the first quarter of the validation
text. Runs are kept in `benchmarks/results/search_efficiency` and not repeated: a plain one takes
about 12 minutes of a core. Writes `benchmarks/results/search_efficiency.{json,md,png}`.

The measure is the hypervolume of `report.md`: how often the smallest plan halves the file, on
average over all permitted rises of the perplexity from 0 to 20 %.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any, get_args

import matplotlib as mpl
from matplotlib import pyplot as plt
from ptb_small import RESULTS
from torch import nn

from autocompress import search
from autocompress.errors import PlanError
from autocompress.knowledge.kept import Kept
from autocompress.lm import LanguageModeling, load_model, read_corpus
from autocompress.reporting.insight import volumes
from autocompress.searching.folder import SearchFolder
from autocompress.searching.settings import SamplerName
from autocompress.searching.space.language import load_space
from autocompress.searching.space.questions import ask_plan
from autocompress.searching.study import Study
from autocompress.trial.evaluator import Evaluator

RUNS = RESULTS / "search_efficiency"
OWN, OWN_EVALUATIONS = "this search", 25
EVALUATIONS = 250
SAMPLERS = get_args(SamplerName)
SEEDS = (0, 1, 2)


def plain(evaluator: Evaluator, sampler: Any, seed: int) -> list[tuple[int, float]]:
    """Return size and perplexity of each evaluation of a plain sampler; misfits do not count."""
    space = load_space("size")
    found: list[tuple[int, float]] = []
    with TemporaryDirectory() as folder:
        journal = Path(folder) / "journal"
        study = Study(journal, evaluator.directions, sampler, seed, {})
        while len(found) < EVALUATIONS:
            asking = study.ask()
            plan = ask_plan(space, evaluator.source, asking)
            try:
                result = evaluator.run(asking.number, plan, Path(folder) / "model.acz")
            except PlanError as error:
                study.fail(asking.number, error)
                continue
            study.tell(result)
            found.append((result.size_bytes, result.values["perplexity"]))
    return found


def own(model: nn.Module, task: LanguageModeling, seed: int, out: Path) -> dict[str, Any]:
    """Return the evaluations of this tool's search, and what it costs beside its trials."""
    clock, cpu = time.perf_counter(), time.process_time()
    found = search(model, task, trials=OWN_EVALUATIONS + 15, seed=seed, out=out)
    trials = SearchFolder(out).trials()
    measured = [trial for trial in trials if "perplexity" in trial.values]
    return {
        "baseline": [found.baseline.size_bytes, found.baseline.values["perplexity"]],
        "points": [(one.size_bytes, one.values["perplexity"]) for one in measured],
        "measured_s": median(one.seconds for one in measured),
        "rejected_s": [one.seconds for one in trials if one.rejected is not None],
        "wall_s": time.perf_counter() - clock,
        "cpu_s": time.process_time() - cpu,
        "trials_s": sum(one.seconds for one in trials),
    }


def main() -> None:
    """Make the runs that are missing, then table and picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    arguments = parser.parse_args()
    model, vocabulary = load_model(arguments.model)
    corpus = read_corpus(arguments.data, vocabulary)
    task = LanguageModeling(replace(corpus, valid=corpus.valid[: len(corpus.valid) // 4]))
    RUNS.mkdir(exist_ok=True)
    runs: dict[str, list[Any]] = {OWN: [], **{sampler: [] for sampler in SAMPLERS}}
    for seed in SEEDS:
        for name in runs:
            path = RUNS / f"{name.replace(' ', '-')}-{seed}.json"
            if not path.exists():
                with TemporaryDirectory() as folder:
                    if name == OWN:
                        made: Any = own(model, task, seed, Path(folder))
                    else:
                        kept = Kept.of(model, task)
                        made = plain(Evaluator.of(model, task, kept=kept), name, seed)
                path.write_text(json.dumps(made) + "\n")
            runs[name].append(json.loads(path.read_text()))
    write(runs)


def write(runs: Mapping[str, Sequence[Any]]) -> None:
    """Write the numbers, a table and a picture."""
    size, perplexity = runs[OWN][0]["baseline"]
    curves = {
        name: [
            volumes([(p / perplexity - 1, math.log2(size / s)) for s, p in points])
            for points in ([run["points"] for run in found] if name == OWN else found)
        ]
        for name, found in runs.items()
    }
    (RESULTS / "search_efficiency.json").write_text(json.dumps(curves) + "\n")
    steps = (5, 10, OWN_EVALUATIONS, 50, 100, EVALUATIONS)
    lines = [
        "| search | " + " | ".join(f"after {step}" for step in steps) + " |",
        "|---" * (len(steps) + 1) + "|",
    ]
    for name, found in curves.items():
        cells = []
        for step in steps:
            # This search may end below 25 evaluations, the rest of its trials being rejected.
            values = [curve[min(step, len(curve)) - 1] for curve in found]
            spread = f"{mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"
            cells.append(spread if name != OWN or step <= OWN_EVALUATIONS else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    ours = runs[OWN]
    rejected = [seconds for run in ours for seconds in run["rejected_s"]]
    measured_s = median(run["measured_s"] for run in ours)
    early = f"a rejected one {median(rejected):.1f} s" if rejected else "none was rejected"
    lines += [
        "",
        "Halvings of the file, mean of three seeds (smallest to largest).",
        f"A measured trial takes {measured_s:.1f} s in the median, {early}.",
    ]
    (RESULTS / "search_efficiency.md").write_text("\n".join(lines) + "\n")
    draw(curves)


def draw(curves: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """Draw the hypervolume over the number of evaluations, mean and range of the seeds."""
    mpl.use("Agg")
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for name, found in curves.items():
        count = min(OWN_EVALUATIONS if name == OWN else EVALUATIONS, *map(len, found))
        columns = list(zip(*(curve[:count] for curve in found), strict=True))
        steps = range(1, count + 1)
        axes.plot(steps, [mean(one) for one in columns], label=name)
        axes.fill_between(steps, [min(c) for c in columns], [max(c) for c in columns], alpha=0.2)
    axes.set(xscale="log", xlabel="full evaluations", ylabel="hypervolume [halvings of the file]")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(RESULTS / "search_efficiency.png", dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
