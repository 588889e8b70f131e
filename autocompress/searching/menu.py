"""Menus: for each weight what a search space offers, with estimated bytes and rise of the loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from autocompress import progress
from autocompress.compression import Source
from autocompress.errors import PlanError
from autocompress.estimate import Estimate, Estimator
from autocompress.plan import Treatment
from autocompress.searching.parameters import ask_treatment
from autocompress.searching.space import Range, Rule, Scalar, Space
from autocompress.weights import Weight

_ROWS = 512
_POINTS, _LOG_POINTS = 3, 5
_SLOPES = tuple(8.0**power for power in range(-2, 4))
_RISE = 0.02


@dataclass(frozen=True)
class Candidate:
    """One way to store a weight.

    Attributes:
        answers: By the questions of the search space, the answers that lead to it.
        treatment: The way.
        estimate: What it costs in bytes and in the loss.
    """

    answers: Mapping[str, Scalar]
    treatment: Treatment
    estimate: Estimate


Menu = Sequence[Candidate]


def menus(space: Space, source: Source) -> dict[str, Menu]:
    """Return by weight name the candidates of a search space.

    First all precisions are tried on the first structure that is offered, then all structures
    with those precisions that were of use at some price of a bit.

    Args:
        space: What is offered; sites are left out.
        source: The model, with its sensitivities.

    Raises:
        SpaceError: If nothing fits a weight.
    """
    estimator = Estimator(source, _ROWS)
    weights = source.weights.weights
    found: dict[str, Menu] = {}
    with progress.bar("menus", len(weights)) as bar:
        for name, weight in weights.items():
            rule = space.rule_for(weight, name in source.calibration.row_frequencies)
            found[name] = _menu(weight, rule, source, estimator)
            bar.advance(note=f"{name}: {len(found[name])} candidates")
    return found


def _menu(weight: Weight, rule: Rule, source: Source, estimator: Estimator) -> Menu:
    grid = _Grid(_slope_unit(source) / source.calibration.sensitivities.get(weight.name, 1.0))
    leaves = list(_leaves(lambda asker: ask_treatment(weight.name, rule, source, asker), grid))
    if not leaves:
        return ()
    simplest = leaves[0][1].structure

    def candidates(chosen: Callable[[Treatment], bool]) -> list[Candidate]:
        found = []
        for answers, treatment in leaves:
            if chosen(treatment):
                try:
                    estimate = estimator.estimate(weight.name, treatment)
                except PlanError:
                    continue  # what does not fit is no candidate
                found.append(Candidate(answers, treatment, estimate))
        return found

    first = candidates(lambda treatment: treatment.structure == simplest)
    useful = {candidate.treatment.precision for candidate in hull(first)}
    if not first:
        useful = {treatment.precision for _, treatment in leaves}
    second = candidates(
        lambda treatment: treatment.structure != simplest and treatment.precision in useful
    )
    return hull([*first, *second])


def hull(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates that are the best at some price of a bit, smallest first.

    They are the corners of the lower convex hull of rise over bytes.
    """
    corners: list[Candidate] = []
    order = sorted(candidates, key=lambda one: (one.estimate.size_bytes, one.estimate.rise))
    for candidate in order:
        if corners and candidate.estimate.rise >= corners[-1].estimate.rise:
            continue
        while len(corners) > 1 and _is_above(corners[-2], corners[-1], candidate):
            corners.pop()
        corners.append(candidate)
    return corners


def _is_above(before: Candidate, middle: Candidate, after: Candidate) -> bool:
    """Whether the middle one lies on or above the line between the others."""
    (size, rise), (size_0, rise_0), (size_1, rise_1) = (
        one.estimate for one in (middle, before, after)
    )
    return (rise - rise_0) * (size_1 - size_0) >= (rise_1 - rise_0) * (size - size_0)


def _slope_unit(source: Source) -> float:
    """Return the price of a bit at which the loss should rise by about 0.02.

    At high rate each element costs slope / (2 ln 2) [Gish and Pierce 1968].
    """
    elements = sum(weight.values.size for weight in source.weights.weights.values())
    return 2 * math.log(2) * _RISE / elements


class _Grid:
    """Turns ranges into a few points each."""

    def __init__(self, slope: float) -> None:
        self._slope = slope

    def points(self, name: str, interval: Range) -> tuple[int | float, ...]:
        low, high = interval.low, interval.high
        if name.endswith(".slope"):
            slopes = (self._slope * times for times in _SLOPES)
            return tuple(dict.fromkeys(min(max(slope, low), high) for slope in slopes))
        count = _LOG_POINTS if interval.log else _POINTS
        shares = [step / (count - 1) for step in range(count)]
        if interval.log:
            values = [low * (high / low) ** share for share in shares]
        else:
            values = [low + (high - low) * share for share in shares]
        if isinstance(low, int) and isinstance(high, int):
            return tuple(dict.fromkeys(round(value) for value in values))
        return tuple(min(max(value, low), high) for value in values)


class _Walker:
    """Answers the first questions as prescribed and all further ones with their first option.

    Attributes:
        answers: The answers given, by the names of the questions.
        options: For each question in order, what else could have been answered.
    """

    def __init__(self, prescribed: Sequence[Scalar], grid: _Grid) -> None:
        self.answers: dict[str, Scalar] = {}
        self.options: list[tuple[Scalar, ...]] = []
        self._prescribed, self._grid = prescribed, grid

    def pick(self, name: str, options: tuple[Scalar, ...]) -> Scalar:
        position = len(self.options)
        answer = self._prescribed[position] if position < len(self._prescribed) else options[0]
        self.options.append(options)
        self.answers[name] = answer
        return answer

    def pick_number(self, name: str, interval: Range) -> int | float:
        answer = self.pick(name, self._grid.points(name, interval))
        assert not isinstance(answer, str)
        return answer


def _leaves(
    ask: Callable[[_Walker], Treatment], grid: _Grid
) -> Iterator[tuple[dict[str, Scalar], Treatment]]:
    """Yield all ways through the questions, depth first, with the treatment each leads to."""
    open_ends: list[tuple[Scalar, ...]] = [()]
    while open_ends:
        prescribed = open_ends.pop()
        walker = _Walker(prescribed, grid)
        treatment = ask(walker)
        given = tuple(walker.answers.values())
        for position in reversed(range(len(prescribed), len(given))):
            others = reversed(walker.options[position][1:])
            open_ends.extend((*given[:position], other) for other in others)
        yield walker.answers, treatment
