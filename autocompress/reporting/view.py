"""What the picture of a front shows: file size, and latency where it counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Literal, NamedTuple

from matplotlib.ticker import MaxNLocator

from autocompress.outcome.limits import format_bytes
from autocompress.outcome.names import LATENCY, LATENCY_MS, SIZE

if TYPE_CHECKING:
    from autocompress.outcome.results import Scored, SearchResult, TrialResult

Side = Literal["left", "center", "right"]
_MB = 1e6


@dataclass(frozen=True)
class Dot:
    """One trial in a picture.

    Attributes:
        cost: What it costs, in the unit of the horizontal axis.
        value: Its metric.
        tip: What is told of it when it is pointed at.
    """

    cost: float
    value: float
    tip: str

    @property
    def point(self) -> tuple[float, float]:
        """Cost and metric."""
        return self.cost, self.value


@dataclass(frozen=True)
class FrontView:
    """What a picture of a front shows: a cost of each plan against the task's metric.

    Attributes:
        title: Headline.
        axis: Name of the horizontal axis, with the unit of the cost.
        metric: Name of the vertical axis.
        trials: The measured trials that are not on the front.
        front: The front, by rising cost.
        steps: The best metric at each cost: corners of the line through the front.
        tuned: What was fine-tuned.
        best: The best plan, or None.
        best_note: What is written beside it.
        baseline: Metric of the baseline.
        baseline_note: What is written beside its line.
        limit: The limit on the cost, or None.
        limit_note: What is written above its line.
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
    front: tuple[Dot, ...]
    steps: tuple[Dot, ...]
    tuned: tuple[Dot, ...]
    best: Dot | None
    best_note: str
    baseline: float
    baseline_note: str
    limit: float | None
    limit_note: str
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

    @property
    def x_ticks(self) -> list[float]:
        """Costs to label."""
        return _x_ticks(*self.x_limits)

    @property
    def y_ticks(self) -> list[float]:
        """Metrics to label."""
        return _y_ticks(*self.y_limits)


class _Axis(NamedTuple):
    """A cost that plans are drawn by.

    Attributes:
        name: What the axis is called.
        cost: Reads the cost of a plan.
        write: Writes a cost.
        uncompressed: Writes that of the uncompressed model.
    """

    name: str
    cost: Callable[[Mapping[str, float]], float]
    write: Callable[[float], str]
    uncompressed: Callable[[Mapping[str, float]], str]


_SIZE = _Axis(
    "file size [MB]",
    lambda values: values[SIZE] / _MB,
    lambda cost: format_bytes(cost * _MB),
    lambda values: format_bytes(values[SIZE]),
)
_LATENCY = _Axis(
    "latency [times the uncompressed model's]",
    lambda values: values[LATENCY],
    lambda cost: f"{cost:.3g}x",
    lambda values: f"{values[LATENCY_MS]:.3g} ms",
)


def front_view(result: SearchResult, trials: Sequence[TrialResult]) -> FrontView:
    """Decide what a picture of a search shows and where its axes begin and end.

    Args:
        result: The search.
        trials: All finished trials.
    """
    members = {scored.trial for scored in result.front}
    others = [
        trial for trial in trials if result.metric in trial.values and trial.number not in members
    ]
    limit = None if result.budget_bytes is None else result.budget_bytes / _MB
    title = f"{result.name}: file size and {result.metric}"
    view = _view(result, others, _SIZE, title, limit)
    outside = sum(
        not view.y_limits[0] <= dot.value <= view.y_limits[1]
        for dot in (*view.front, *view.trials)
    )
    beside = None
    if LATENCY in result.directions:
        limit = result.limits.get(LATENCY)
        beside = _view(result, others, _LATENCY, f"latency and {result.metric}", limit)
    return replace(view, caption=_caption(result, trials, outside), beside=beside)


def _view(
    result: SearchResult,
    others: Sequence[TrialResult],
    axis: _Axis,
    title: str,
    limit: float | None,
) -> FrontView:
    """Show the front and other measured trials by one cost."""
    metric, baseline = result.metric, result.baseline.values[result.metric]
    lower = result.directions[metric] == "minimize"
    cloud = tuple(_dot(result, axis, trial.values, f"trial {trial.number}") for trial in others)
    front = sorted((_member(result, axis, scored) for scored in result.front), key=_by_cost)
    tuned = [_member(result, axis, scored) for scored in result.recovered]
    low, high = _y_limits(
        [dot.value for dot in (*front, *tuned)], [dot.value for dot in cloud], baseline, lower
    )
    costs = [dot.cost for dot in (*front, *tuned, *cloud) if low <= dot.value <= high]
    costs += [] if limit is None else [limit]
    return FrontView(
        title=title,
        axis=axis.name,
        metric=metric,
        trials=cloud,
        front=tuple(front),
        steps=_steps(front, lower),
        tuned=tuple(tuned),
        best=_member(result, axis, result.best) if result.best else None,
        best_note=_best_note(result, axis),
        baseline=baseline,
        baseline_note=f"uncompressed: {baseline:.4g}, {axis.uncompressed(result.baseline.values)}",
        limit=limit,
        limit_note="" if limit is None else f"budget {axis.write(limit)}",
        x_limits=_x_limits(costs or [axis.cost(result.baseline.values)]),
        y_limits=(low, high),
        lower_is_better=lower,
        caption="",
    )


def _by_cost(dot: Dot) -> tuple[float, float]:
    return dot.point


def _member(result: SearchResult, axis: _Axis, scored: Scored) -> Dot:
    tip = f"{result.title(scored)}: {result.ratio(scored):.1f}x smaller, {result.change(scored)}"
    return _dot(result, axis, scored.values, f"{tip}\n{scored.label}")


def _dot(result: SearchResult, axis: _Axis, values: Mapping[str, float], tip: str) -> Dot:
    cost, value = axis.cost(values), values[result.metric]
    return Dot(cost, value, f"{tip}\n{axis.write(cost)}, {result.metric} {value:.4g}")


def _steps(front: Sequence[Dot], lower: bool) -> tuple[Dot, ...]:
    """Keep the dots that improve on all smaller ones: with a third objective not all do."""
    kept: list[Dot] = []
    for dot in front:
        last = kept[-1].value if kept else math.inf if lower else -math.inf
        if (dot.value < last) if lower else (dot.value > last):
            kept.append(dot)
    return tuple(kept)


def _y_limits(
    front: Sequence[float], cloud: Sequence[float], baseline: float, lower: bool
) -> tuple[float, float]:
    """Fit the range to the baseline and the bulk of the front.

    The smallest files of a front may be many times worse than the rest. Values are shown up to
    four times as far from the best as the front's median is; the side where nothing can be, for
    it would be better than the front, keeps room for the notes.
    """
    sign = 1.0 if lower else -1.0
    good = min(sign * value for value in (*front, baseline))
    middle = median(sign * value for value in front) if front else good
    reach = max(4 * (middle - good), 0.04 * abs(baseline), 1e-12)
    shown = [sign * y for y in (*front, *cloud, baseline) if sign * y <= good + reach]
    span = max(max(shown) - good, reach / 2, sign * baseline - good)
    near, far = good - 0.3 * span, max(good + span, sign * baseline) + 0.08 * span
    return (near, far) if lower else (-far, -near)


def _x_limits(costs: Sequence[float]) -> tuple[float, float]:
    low, high = math.log(min(costs)), math.log(max(costs))
    margin = max(0.08 * (high - low), 0.05)
    return math.exp(low - margin), math.exp(high + margin)


def _x_ticks(low: float, high: float) -> list[float]:
    """Choose round costs for a logarithmic axis, at least three where there is room."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for mantissas in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [m * 10.0**d for d in decades for m in mantissas if low <= m * 10.0**d <= high]
        if len(ticks) >= 4:
            return ticks
    return _y_ticks(low, high)


def _y_ticks(low: float, high: float) -> list[float]:
    ticks = MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(tick) for tick in ticks if low <= tick <= high]


def plain(value: float) -> str:
    """Write a number without an exponent, as the label of an axis."""
    return f"{value:.10g}"


def _best_note(result: SearchResult, axis: _Axis) -> str:
    if result.best is None:
        return ""
    cost = axis.write(axis.cost(result.best.values))
    smaller = f", {result.ratio(result.best):.1f}x smaller" if axis is _SIZE else ""
    return f"best: {cost}{smaller}, {result.change(result.best)}"


def _caption(result: SearchResult, trials: Sequence[TrialResult], outside: int) -> str:
    unmeasured = sum(result.metric not in trial.values for trial in trials)
    unmeasured += result.without_file
    noun = "trial" if result.trials == 1 else "trials"
    parts = [f"{result.trials} {noun}, {len(result.front)} on the front"]
    parts += [f"{unmeasured} given up early"] if unmeasured else []
    side = "above" if result.directions[result.metric] == "minimize" else "below"
    parts += [f"{outside} {side} the range shown"] if outside else []
    return "; ".join([*parts, result.measure])
