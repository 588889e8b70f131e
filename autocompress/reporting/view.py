"""What the picture of a front shows: file size, and latency where it counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from autocompress.outcome.contenders import trial_title
from autocompress.outcome.limits import format_bytes
from autocompress.outcome.names import LATENCY, LATENCY_MS, SIZE
from autocompress.reporting.axes import (
    cost_limits,
    cost_ticks,
    value_limits,
    value_ticks,
    with_ceiling,
)
from autocompress.reporting.dot import Dot
from autocompress.reporting.rows import key_of

if TYPE_CHECKING:
    from autocompress.outcome.results import Scored, SearchResult, TrialResult

Side = Literal["left", "center", "right"]
_MB = 1e6


@dataclass(frozen=True)
class FrontView:
    """What a picture of a front shows: a cost of each plan against the task's metric.

    Attributes:
        title: Headline.
        axis: Name of the horizontal axis, with the unit of the cost.
        metric: Name of the vertical axis.
        trials: The measured trials that are not on the front.
        given_up: The trials that have a file, but were not measured whole; without a metric.
        front: The front, by rising cost.
        steps: The best metric at each cost: corners of the line through the front.
        tuned: What was tuned without labels.
        recovered: What was fine-tuned on labels.
        best: The best plan; where none keeps the limits the nearest; or None.
        best_note: What is written beside it.
        is_miss: Whether no plan keeps the limits.
        baseline: Metric of the baseline.
        baseline_note: What is written beside its line.
        limit: The limit on the cost, or None.
        limit_note: What is written above its line.
        ceiling: The limit on the metric, or None.
        ceiling_note: What is written beside its line.
        x_limits: Range of the costs.
        y_limits: Range of the metric.
        lower_is_better: Whether the metric is to be minimised.
        caption: What the picture leaves out, and how many there are of what.
        beside: The same plans by another cost, in a second panel; or None.
    """

    title: str
    axis: str
    metric: str
    trials: tuple[Dot, ...]
    given_up: tuple[Dot, ...]
    front: tuple[Dot, ...]
    steps: tuple[Dot, ...]
    tuned: tuple[Dot, ...]
    recovered: tuple[Dot, ...]
    best: Dot | None
    best_note: str
    is_miss: bool
    baseline: float
    baseline_note: str
    limit: float | None
    limit_note: str
    ceiling: float | None
    ceiling_note: str
    x_limits: tuple[float, float]
    y_limits: tuple[float, float]
    lower_is_better: bool
    caption: str
    beside: FrontView | None = None

    @property
    def best_side(self) -> Side:
        """Which end of the best plan's note stands at its point, so that it stays inside."""
        if self.best is None:
            return "center"
        low, high, x = (math.log(value) for value in (*self.x_limits, self.best.cost))
        place = (x - low) / (high - low)
        return "left" if place < 0.35 else "right" if place > 0.65 else "center"

    def clipped(self, dot: Dot) -> Dot:
        """Return a dot at the edge of the range shown, if it lies beyond; else as it is."""
        (left, right), (low, high) = self.x_limits, self.y_limits
        cost, value = min(max(dot.cost, left), right), min(max(dot.value, low), high)
        return replace(dot, cost=cost, value=value)

    def is_outside(self, dot: Dot) -> bool:
        """Whether a dot lies beyond the range shown."""
        return not self.y_limits[0] <= dot.value <= self.y_limits[1]

    def steps_of(self, dots: Sequence[Dot]) -> tuple[Dot, ...]:
        """The best metric at each cost of one track: corners of a line of its own."""
        return _steps(sorted(dots, key=_by_cost), self.lower_is_better)

    @property
    def x_ticks(self) -> list[float]:
        """Costs to label."""
        return cost_ticks(*self.x_limits)

    @property
    def y_ticks(self) -> list[float]:
        """Metrics to label."""
        return value_ticks(*self.y_limits)


class _Axis(NamedTuple):
    """A cost that plans are drawn by.

    Attributes:
        name: What the axis is called.
        cost: Reads the cost of a plan.
        write: Writes a cost.
        uncompressed: Writes that of the uncompressed model.
        objective: What is measured of it.
    """

    name: str
    cost: Callable[[Mapping[str, float]], float]
    write: Callable[[float], str]
    uncompressed: Callable[[Mapping[str, float]], str]
    objective: str

    def has(self, trial: TrialResult) -> bool:
        """Whether the cost of a trial is known."""
        return self.objective in trial.values


_SIZE = _Axis(
    "file size [MB]",
    lambda values: values[SIZE] / _MB,
    lambda cost: format_bytes(cost * _MB),
    lambda values: format_bytes(values[SIZE]),
    SIZE,
)
_LATENCY = _Axis(
    "latency [times the uncompressed model's]",
    lambda values: values[LATENCY],
    lambda cost: f"{cost:.3g}x",
    lambda values: f"{values[LATENCY_MS]:.3g} ms",
    LATENCY,
)


def front_view(result: SearchResult, trials: Sequence[TrialResult]) -> FrontView:
    """Decide what a picture of a search shows and where its axes begin and end.

    Args:
        result: The search.
        trials: All finished trials.
    """
    members = {scored.trial for scored in result.front}
    others = [trial for trial in trials if trial.number not in members]
    limit = None if result.budget_bytes is None else result.budget_bytes / _MB
    name = f"{len(result.models)} models" if result.models else result.name
    title = f"{name}: file size and {result.metric}"
    view = _view(result, others, _SIZE, title, limit)
    outside = sum(map(view.is_outside, (*view.front, *view.trials)))
    beside = None
    if LATENCY in result.directions:
        limit = result.limits.get(LATENCY)
        beside = _view(result, others, _LATENCY, f"latency and {result.metric}", limit)
    return replace(view, caption=_caption(result, outside), beside=beside)


def _view(
    result: SearchResult,
    others: Sequence[TrialResult],
    axis: _Axis,
    title: str,
    limit: float | None,
) -> FrontView:
    """Show the front and all other trials by one cost."""
    metric, uncompressed = result.metric, result.baseline.values
    baseline, lower = uncompressed[metric], result.directions[metric] == "minimize"
    cloud = tuple(_trial(result, axis, one) for one in others if metric in one.values)
    given_up = tuple(
        _trial(result, axis, one) for one in others if metric not in one.values and axis.has(one)
    )
    front = sorted((_member(result, axis, scored) for scored in result.front), key=_by_cost)
    tuned = tuple(_member(result, axis, scored) for scored in result.tuned)
    recovered = tuple(_member(result, axis, scored) for scored in result.recovered)
    ceiling = result.bounds[metric].bound if metric in result.bounds else None
    members = (*front, *tuned, *recovered)
    good = [*(dot.value for dot in members), *(one.values[metric] for one in result.misses)]
    low, high = value_limits(good, [dot.value for dot in cloud], baseline, lower)
    if ceiling is not None:
        low, high = with_ceiling(low, high, ceiling)
    costs = [dot.cost for dot in (*members, *cloud) if low <= dot.value <= high]
    costs += [*(dot.cost for dot in given_up), *([] if limit is None else [limit])]
    best = result.best or result.nearest
    return FrontView(
        title=title,
        axis=axis.name,
        metric=metric,
        trials=cloud,
        given_up=given_up,
        front=tuple(front),
        steps=_steps(front, lower),
        tuned=tuned,
        recovered=recovered,
        best=_member(result, axis, best) if best else None,
        best_note=_best_note(result, axis),
        is_miss=result.best is None,
        baseline=baseline,
        baseline_note=_baseline_note(result, axis),
        limit=limit,
        limit_note="" if limit is None else f"budget {axis.write(limit)}",
        ceiling=ceiling,
        ceiling_note="" if ceiling is None else f"limit {ceiling:.4g}",
        x_limits=cost_limits(costs or [axis.cost(uncompressed)]),
        y_limits=(low, high),
        lower_is_better=lower,
        caption="",
    )


def _by_cost(dot: Dot) -> tuple[float, float]:
    return dot.point


def _member(result: SearchResult, axis: _Axis, scored: Scored) -> Dot:
    tip = f"{result.title(scored)}: {result.ratio(scored):.1f}x smaller, {result.change(scored)}"
    dot = _dot(result, axis, scored.values, f"{tip}\n{scored.label}")
    return replace(dot, key=key_of(scored), model=scored.model or "")


def _trial(result: SearchResult, axis: _Axis, trial: TrialResult) -> Dot:
    why = "" if trial.rejected is None else f": {trial.rejected}"
    dot = _dot(result, axis, trial.values, f"{trial_title(result, trial.number)}{why}")
    return replace(dot, key=str(trial.number))


def _dot(result: SearchResult, axis: _Axis, values: Mapping[str, float], tip: str) -> Dot:
    cost, value = axis.cost(values), values.get(result.metric, math.nan)
    told = "" if math.isnan(value) else f", {result.metric} {value:.4g}"
    return Dot(cost, value, f"{tip}\n{axis.write(cost)}{told}")


def _steps(front: Sequence[Dot], lower: bool) -> tuple[Dot, ...]:
    """Keep the dots that improve on all smaller ones: with a third objective not all do."""
    kept: list[Dot] = []
    for dot in front:
        last = kept[-1].value if kept else math.inf if lower else -math.inf
        if (dot.value < last) if lower else (dot.value > last):
            kept.append(dot)
    return tuple(kept)


def _baseline_note(result: SearchResult, axis: _Axis) -> str:
    values, model = result.baseline.values, result.baseline.model
    of = "" if model is None else f" {model}"
    return f"uncompressed{of}: {values[result.metric]:.4g}, {axis.uncompressed(values)}"


def _best_note(result: SearchResult, axis: _Axis) -> str:
    marked = result.best or result.nearest
    if marked is None:
        return ""
    cost = axis.write(axis.cost(marked.values))
    smaller = f", {result.ratio(marked):.1f}x smaller" if axis is _SIZE else ""
    what = "best" if result.best else "nearest"
    return f"{what}: {cost}{smaller}, {result.change(marked)}"


def _caption(result: SearchResult, outside: int) -> str:
    parts = [result.counted]
    side = "above" if result.directions[result.metric] == "minimize" else "below"
    parts += [f"{outside} {side} the range shown"] if outside else []
    return "; ".join([*parts, result.measure])
