"""The first trials that a space names: its uniform plans, some fitted to the budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from autocompress.compression import Source, write_artifact
from autocompress.objectives import Budget
from autocompress.plan import CompressionPlan
from autocompress.searching.parameters import SCALED, Replay, UniformAsker, ask_plan
from autocompress.searching.space import Scalar, Space, Uniform

RUNGS = 8
_RUNGS_PER_OCTAVE = 3
_SCALES = (-6.0, 8.0)  # octaves
_PRECISION = 2.0**-6  # octaves; about 0.3 % of the file
_FILLED = 0.997


@dataclass(frozen=True)
class Opening:
    """One of the first trials.

    Attributes:
        origin: What to call it.
        answers: By the questions of the search space, the answers that lead to the plan.
        plan: The plan.
    """

    origin: str
    answers: Mapping[str, Scalar]
    plan: CompressionPlan


@dataclass(frozen=True)
class Family:
    """Plans that differ in the scale of all their steps alone.

    Attributes:
        name: What to call it.
        answers: Those of scale 1.
    """

    name: str
    answers: Mapping[str, Scalar]

    @property
    def is_scalable(self) -> bool:
        """Whether there is any step to scale."""
        return any(question.rsplit(".", 1)[-1] in SCALED for question in self.answers)

    def at(self, scale: float, space: Space, source: Source) -> Opening:
        """Return the member of a scale."""
        asker = Replay(self.answers, scale)
        plan = ask_plan(space, source, asker)
        return Opening(f"{self.name}, steps x {scale:.4g}", asker.answers, plan)


def ladder_scales(first: float) -> list[float]:
    """Return eight scales of steps, a third of an octave apart, from the finest on."""
    return [first * 2.0 ** (rung / _RUNGS_PER_OCTAVE) for rung in range(RUNGS)]


def families(space: Space, source: Source) -> list[Family]:
    """Return the families of the uniform plans that are ladders."""
    return [_family(uniform, space, source) for uniform in space.uniform if uniform.ladder]


def _family(uniform: Uniform, space: Space, source: Source) -> Family:
    asker = UniformAsker(uniform, space, source)
    ask_plan(space, source, asker)
    return Family(uniform.label, asker.answers)


def openings(space: Space, source: Source, budget: Budget | None) -> list[Opening]:
    """Return the uniform plans, ladders at eight scales of their steps.

    With a budget from the finest scale at which the file fits, without one around the plan
    itself.
    """
    found: list[Opening] = []
    for uniform in space.uniform:
        family = _family(uniform, space, source)
        scales = [1.0]
        if uniform.ladder:
            first = 2.0 ** (-RUNGS / 2 / _RUNGS_PER_OCTAVE)
            if budget is not None:
                first = fitting_scale(family, space, source, budget)
            scales = ladder_scales(first)
        for scale in scales:
            opening = family.at(scale, space, source)
            if all(opening.plan != other.plan for other in found):
                found.append(opening)
    return found


def fitting_scale(family: Family, space: Space, source: Source, budget: Budget) -> float:
    """Return the finest scale at which the file is within the budget, to 0.3 % of its size.

    Where none is, the coarsest is returned.
    """

    def size(octaves: float) -> float:
        return file_size(source, family.at(2.0**octaves, space, source).plan)

    return float(2.0 ** first_below(size, budget.limit_bytes))


def first_below(size: Callable[[float], float], limit: float) -> float:
    """Return about the finest scale of steps, in octaves, at which a size is within a limit.

    Works on its logarithm by regula falsi, with a bisection wherever that does not halve the
    interval. Ends where the function is within 0.3 % below the limit.

    Args:
        size: Positive, and falling but for small steps.
        limit: What it must not exceed. Where it does at all scales, the coarsest is returned.
    """
    target = math.log(limit)
    above, below = _SCALES
    excess = found = math.nan
    place, width = (above + below) / 2, math.inf
    while below - above > _PRECISION:
        now = math.log(size(place)) - target
        if math.log(_FILLED) < now <= 0:
            return place
        if now <= 0:
            below, found = place, now
        else:
            above, excess = place, now
        crossing = above + (below - above) * excess / (excess - found)
        margin = (below - above) / 16
        if math.isnan(crossing) or below - above > width / 2:
            crossing = (above + below) / 2
        width = below - above
        place = min(max(crossing + margin, above + margin), below - margin)
    return below


def file_size(source: Source, plan: CompressionPlan) -> int:
    """Return the length of the file that a plan gives, in bytes, by writing it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.acz"
        write_artifact(source, plan, path)
        return path.stat().st_size
