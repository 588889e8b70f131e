"""The first trials of a search: the space's uniform plans, some fitted to the budget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from autocompress.compression import Source, write_artifact
from autocompress.objectives import Budget
from autocompress.plan import CompressionPlan
from autocompress.searching.parameters import UniformAsker, ask_plan
from autocompress.searching.space import Scalar, Space, Uniform

_RUNGS = 8
_RUNGS_PER_OCTAVE = 3
_SCALES = (1 / 64, 256.0)
_PRECISION = 2.0**-6  # octaves; about 0.3 % of the file


@dataclass(frozen=True)
class Opening:
    """One of the first trials.

    Attributes:
        answers: By the questions of the search space, the answers that lead to the plan.
        plan: The plan.
    """

    answers: Mapping[str, Scalar]
    plan: CompressionPlan


def openings(space: Space, source: Source, budget: Budget | None) -> list[Opening]:
    """Return the first trials of a search.

    A plan with a ladder is tried at eight scales of its steps, a third of an octave apart: with
    a budget from the finest scale at which the file fits, without one around the plan itself.
    """
    found: list[Opening] = []
    for uniform in space.uniform:
        for scale in _scales(uniform, space, source, budget):
            asker = UniformAsker(uniform, space, source, scale)
            plan = ask_plan(space, source, asker)
            if all(plan != opening.plan for opening in found):
                found.append(Opening(asker.answers, plan))
    return found


def _scales(uniform: Uniform, space: Space, source: Source, budget: Budget | None) -> list[float]:
    if not uniform.ladder:
        return [1.0]
    first = 2.0 ** (-_RUNGS / 2 / _RUNGS_PER_OCTAVE)
    if budget is not None:
        first = _fitting_scale(uniform, space, source, budget)
    return [first * 2.0 ** (rung / _RUNGS_PER_OCTAVE) for rung in range(_RUNGS)]


def _fitting_scale(uniform: Uniform, space: Space, source: Source, budget: Budget) -> float:
    """Return the finest scale at which the file is within the budget, to a few parts per thousand.

    Where none is, the coarsest is returned.
    """
    low, high = (math.log2(scale) for scale in _SCALES)
    while high - low > _PRECISION:
        middle = (low + high) / 2
        asker = UniformAsker(uniform, space, source, 2.0**middle)
        fits = budget.excess(file_size(source, ask_plan(space, source, asker))) <= 0
        low, high = (low, middle) if fits else (middle, high)
    return float(2.0**high)


def file_size(source: Source, plan: CompressionPlan) -> int:
    """Return the length of the file that a plan gives, in bytes, by writing it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.acz"
        write_artifact(source, plan, path)
        return path.stat().st_size
