"""The first trials that a space names: its uniform plans, some fitted to the budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from autocompress.encoding.encoder import Encoder
from autocompress.errors import PlanError
from autocompress.knowledge.source import Source
from autocompress.outcome.origin import Aim, Origin
from autocompress.plan import CompressionPlan
from autocompress.searching.space.language import Space, Uniform
from autocompress.searching.space.questions import Replay, UniformAsker, ask_plan
from autocompress.searching.space.tables import Scalar, scale_power
from autocompress.support import progress

RUNGS = 8
_RUNGS_PER_OCTAVE = 3
_SCALES = (-6.0, 8.0)  # octaves
_PRECISION = 2.0**-6  # octaves; about 0.3 % of the file
_SLACK = 0.0015


@dataclass(frozen=True)
class Opening:
    """One of the first trials.

    Attributes:
        origin: What it is, and what to call it.
        answers: By the questions of the search space, the answers that lead to the plan.
        plan: The plan.
    """

    origin: Origin
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
        return any(map(scale_power, self.answers))

    def at(self, scale: float, space: Space, source: Source) -> Opening:
        """Return the member of a scale."""
        asker = Replay(self.answers, scale)
        plan = ask_plan(space, source, asker)
        label = f"{self.name}, steps x {scale:.4g}"
        return Opening(Origin(label, self.name, Aim("scale", scale)), asker.answers, plan)


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


def openings(space: Space, encoder: Encoder, limit_bytes: int | None) -> list[Opening]:
    """Return the uniform plans, ladders at eight scales of their steps.

    With a limit on the size from the finest scale at which the file fits, without one around the
    plan itself.
    """
    found: list[Opening] = []
    for uniform in space.uniform:
        family = _family(uniform, space, encoder.source)
        scales = [1.0]
        if uniform.ladder:
            first = 2.0 ** (-RUNGS / 2 / _RUNGS_PER_OCTAVE)
            if limit_bytes is not None:
                with left_out(family.name):
                    first = fitting_scale(family, space, encoder, limit_bytes)
            scales = ladder_scales(first)
        for scale in scales:
            opening = family.at(scale, space, encoder.source)
            if all(opening.plan != other.plan for other in found):
                found.append(opening)
    return found


@contextmanager
def left_out(name: str) -> Iterator[None]:
    """Leave out plans of a family that do not fit the model, with a line that says so."""
    try:
        yield
    except PlanError as error:
        progress.say(f"left out of the first trials: {name}: {error}")


def fitting_scale(family: Family, space: Space, encoder: Encoder, limit_bytes: int) -> float:
    """Return the finest scale at which the file is within the limit, to 0.3 % of its size.

    Where none is, the coarsest is returned.
    """

    def size(octaves: float) -> float:
        return file_size(encoder, family.at(2.0**octaves, space, encoder.source).plan)

    return float(2.0 ** first_below(size, limit_bytes))


def first_below(size: Callable[[float], float], limit: float) -> float:
    """Return about the finest scale of steps, in octaves, at which a size is within a limit.

    Brackets the scale in strides of an octave, then closes in on it by the Illinois variant of
    regula falsi [1], in the logarithm of the size. Ends where that is within 0.3 % of the limit,
    or the bracket narrower than a 64th of an octave.

    Args:
        size: Positive, and falling but for small steps.
        limit: What it must not exceed. Where it does at all scales, the coarsest is returned.

    References:
        [1] M. Dowell, P. Jarratt. A modified regula falsi method for computing the root of an
            equation. BIT 1971.
    """
    target = math.log(limit) - _SLACK  # aims between the limit and twice the slack below

    def excess(octaves: float) -> float:
        return math.log(size(octaves)) - target

    place, now = 0.0, excess(0.0)
    coarser = 1 if now > _SLACK else -1
    while True:
        if abs(now) <= _SLACK:
            return place
        other, other_excess = place, now
        if place in _SCALES:
            return place
        place = min(max(place + coarser, _SCALES[0]), _SCALES[1])
        now = excess(place)
        if (now > 0) != (other_excess > 0):
            break
    above, below = sorted((place, other))
    high, low = sorted((now, other_excess), reverse=True)
    last = 0
    while below - above > _PRECISION:
        place = (above * low - below * high) / (low - high)
        now = excess(place)
        if abs(now) <= _SLACK:
            return place
        if now > 0:
            above, high, low = place, now, low / 2 if last > 0 else low
        else:
            below, low, high = place, now, high / 2 if last < 0 else high
        last = 1 if now > 0 else -1
    return below


def file_size(encoder: Encoder, plan: CompressionPlan) -> int:
    """Return the length of the file that a plan gives, in bytes, by writing it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.acz"
        encoder.write(plan, path)
        return path.stat().st_size
