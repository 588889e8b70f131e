"""How many full evaluations a search needs: this tool's, and plain samplers in the same space.

    python benchmarks/search_efficiency.py MODEL DATA OUT [--only SAMPLER SEED]

Plain TPE, NSGA-II and random search make 250 evaluations each with three seeds, this tool's
search makes 25; all in the default search space, scored on the first quarter of the validation
text. Runs are kept in the folder OUT and not repeated; with `--only`, one of them is made and
nothing drawn. Writes `benchmarks/results/search_efficiency.{json,md,png}`.

The measure is the area that a front dominates: the logarithm of how many times smaller the file
is than the uncompressed one, times the perplexity's distance from 1.2 times the baseline's, as a
share of that fifth.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from autocompress.errors import PlanError
from autocompress.lm import LanguageModeling, load_model, read_corpus
from autocompress.searching.parameters import ask_plan
from autocompress.searching.space import load_space
from autocompress.searching.study import Study
from autocompress.trial import Evaluator

EVALUATIONS = 250
SAMPLERS = ("tpe", "nsga2", "random")
SEEDS = (0, 1, 2)


def plain(evaluator: Evaluator, sampler: Any, seed: int) -> list[tuple[int, float]]:
    """Return size and perplexity of each evaluation of a plain sampler; misfits do not count."""
    space = load_space("default")
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


def main() -> None:
    """Make the runs that are missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs=2, metavar=("SAMPLER", "SEED"))
    arguments = parser.parse_args()
    model, vocabulary = load_model(arguments.model)
    corpus = read_corpus(arguments.data, vocabulary)
    quarter = replace(corpus, valid=corpus.valid[: len(corpus.valid) // 4])
    arguments.out.mkdir(exist_ok=True)
    evaluator = Evaluator(model, LanguageModeling(quarter), cache=arguments.out)
    runs = [(sampler, seed) for seed in SEEDS for sampler in SAMPLERS]
    for sampler, seed in runs:
        path = arguments.out / f"{sampler}-{seed}.json"
        if not path.exists():
            path.write_text(json.dumps(plain(evaluator, sampler, seed)))
            print(path, flush=True)


if __name__ == "__main__":
    main()
