"""Menus: for each weight what a search space offers, with estimated bytes and rise of the loss."""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from autocompress.encoding.encoder import Encoder
from autocompress.encoding.estimates import Estimate, Estimator
from autocompress.errors import PlanError, SpaceError
from autocompress.knowledge.source import Source
from autocompress.knowledge.weights import Weight
from autocompress.plan import Treatment
from autocompress.searching.space.language import Rule, Space
from autocompress.searching.space.questions import RUNTIME, ask_treatment
from autocompress.searching.space.tables import Range, Scalar, is_priced
from autocompress.structures import Priced, marker
from autocompress.support import progress

_ROWS = 512
_POINTS, _LOG_POINTS = 3, 5
_SLOPES = tuple(8.0**power for power in range(-2, 4))
_RISE = 0.02
_TINY, _HALF = 1e-30, 0.5


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


@dataclass(frozen=True)
class Option:
    """A way to store a weight, whose steps the price of a bit may set.

    Attributes:
        candidates: One; or several by rising slope, all else equal.
        slope: The question for the slope, or None.
        sensitivity: By what the price is divided to give the slope.
    """

    candidates: tuple[Candidate, ...]
    slope: str | None = None
    sensitivity: float = 1.0

    def at(self, price: float) -> Candidate:
        """Return the candidate of a price: where it sets the slope, what lies between others.

        Bytes and rises are interpolated in their logarithms, over that of the slope.
        """
        if self.slope is None:
            return self.candidates[0]
        slopes = [self._slope(one) for one in self.candidates]
        slope = min(max(price / self.sensitivity, slopes[0]), slopes[-1])
        upper = min(bisect_left(slopes, slope), len(slopes) - 1)
        lower = max(upper - 1, 0)
        span = math.log(slopes[upper] / slopes[lower])
        share = math.log(slope / slopes[lower]) / span if span else 0.0
        below, above = self.candidates[lower].estimate, self.candidates[upper].estimate
        estimate = Estimate(
            _between(below.size_bytes, above.size_bytes, share),
            _between(below.loss_rise, above.loss_rise, share),
        )
        near = self.candidates[upper if share > _HALF else lower]
        return Candidate({**near.answers, self.slope: slope}, near.treatment, estimate)

    def _slope(self, candidate: Candidate) -> float:
        assert self.slope is not None
        return float(candidate.answers[self.slope])


def _between(low: float, high: float, share: float) -> float:
    """Interpolate in logarithms."""
    return float(max(low, _TINY) ** (1 - share) * max(high, _TINY) ** share)


Menu = Sequence[Option]


def menus(space: Space, encoder: Encoder) -> dict[str, Menu]:
    """Return by weight name the options of a search space.

    First all precisions are tried on the first structure that is offered, then all structures
    with those precisions that were of use at some price of a bit.

    Args:
        space: What is offered; sites are left out.
        encoder: Of the model, with its sensitivities.

    Raises:
        SpaceError: If nothing fits a weight.
    """
    source, estimator = encoder.source, Estimator(encoder, _ROWS)
    weights = source.weights.weights
    found: dict[str, Menu] = {}
    with progress.bar("menus", len(weights)) as bar:
        for name, weight in weights.items():
            rule = space.rule_for(weight, name in source.calibration.row_frequencies)
            found[name] = _menu(weight, rule, source, estimator)
            if not found[name]:
                raise SpaceError(f"nothing that the search space offers fits weight '{name}'")
            bar.advance(note=f"{name}: {len(found[name])} options")
    return found


def _menu(weight: Weight, rule: Rule, source: Source, estimator: Estimator) -> Menu:
    sensitivity = source.calibration.sensitivities.get(weight.name, 1.0)
    grid = _Grid(_slope_unit(source) / sensitivity)
    leaves = list(_leaves(lambda asker: ask_treatment(weight.name, rule, source, asker), grid))
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
    useful = {_without_slope(candidate.treatment) for candidate in hull(first)}
    if not first:
        useful = {_without_slope(treatment) for _, treatment in leaves}
    second = candidates(
        lambda treatment: treatment.structure != simplest and _without_slope(treatment) in useful
    )
    return _options([*first, *second], sensitivity)


def _without_slope(treatment: Treatment) -> str:
    """Name a precision, whatever the price of a bit sets."""
    precision = treatment.precision
    priced = {name for name, _ in precision if marker(type(precision), name, Priced)}
    return json.dumps(precision.model_dump(exclude=priced), sort_keys=True)


def _options(candidates: Sequence[Candidate], sensitivity: float) -> list[Option]:
    """Join the candidates that differ in the slope alone."""
    groups: dict[tuple[tuple[str, Scalar], ...], list[Candidate]] = {}
    for candidate in candidates:
        alike = tuple(one for one in candidate.answers.items() if not is_priced(one[0]))
        groups.setdefault(alike, []).append(candidate)
    options = []
    for group in groups.values():
        slope = next(filter(is_priced, group[0].answers), None)
        ordered = sorted(group, key=lambda one: float(one.answers[slope]) if slope else 0.0)
        options.append(Option(tuple(ordered), slope, sensitivity))
    return options


def hull(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates that are the best at some price of a bit, smallest first.

    They are the corners of the lower convex hull of rise over bytes.
    """
    corners: list[Candidate] = []
    order = sorted(candidates, key=lambda one: (one.estimate.size_bytes, one.estimate.loss_rise))
    for candidate in order:
        if corners and candidate.estimate.loss_rise >= corners[-1].estimate.loss_rise:
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
        if is_priced(name):
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
        if name.endswith(f"/{RUNTIME}"):
            options = options[:1]  # it changes neither bytes nor, by much, the loss
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
