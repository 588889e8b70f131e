"""The picture of a front: file size, and latency where it counts, against the task's metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from autocompress.outcome.limits import format_bytes
from autocompress.outcome.names import LATENCY, LATENCY_MS, SIZE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from autocompress.outcome.results import Scored, SearchResult, TrialResult

Side = Literal["left", "center", "right"]
_MB = 1e6
_FRONT, _BEST, _TRIAL, _BASELINE, _BUDGET = "#1f6feb", "#d1242f", "#b3bac2", "#57606a", "#9a6700"
_TUNED = "#1a7f37"


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
    "time for a word [times the uncompressed model's]",
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


def save_png(view: FrontView, path: Path) -> None:
    """Draw a view as a PNG file, whatever the file's name ends with.

    It has 1600 x 1000 pixels, and with a second panel 3000.
    """
    views = [view] if view.beside is None else [view, view.beside]
    figure = Figure(figsize=(8 if len(views) == 1 else 15, 5), dpi=200, layout="constrained")
    panels = figure.subplots(1, len(views), squeeze=False)[0]
    for axes, shown in zip(panels, views, strict=True):
        _draw_axes(axes, shown)
        _draw_lines(axes, shown)
        _draw_points(axes, shown)
    # Above the axes, where no dot can be.
    panels[0].legend(
        loc="lower right", bbox_to_anchor=(1, 1.06), ncols=3, fontsize=8.5, frameon=False
    )
    figure.supxlabel(view.caption, fontsize=8, color=_BASELINE, x=0.99, ha="right")
    figure.savefig(path, format="png")


def save_hypervolume(title: str, volumes: Sequence[float], path: Path) -> None:
    """Draw the hypervolume after each trial as a PNG file of 1600 x 1000 pixels.

    Args:
        title: Headline.
        volumes: Hypervolume of the front after each trial, in halvings of the file.
        path: The file, whatever its name ends with.
    """
    figure = Figure(figsize=(8, 5), dpi=200, layout="constrained")
    axes = figure.add_subplot()
    _draw_frame(axes, title)
    after = [0.0, *volumes]
    axes.plot(after, drawstyle="steps-post", color=_FRONT, linewidth=1.6, zorder=3)
    if after[-1] > 0:
        last = (len(volumes), volumes[-1])
        axes.scatter(*last, s=28, color=_FRONT, edgecolors="white", zorder=4)
        note = f"{last[1]:.2f} halvings, {2 ** last[1]:.1f}x smaller"
        where = axes.transAxes
        axes.text(1, 1.02, note, transform=where, ha="right", fontsize=9, color=_FRONT)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("finished trials")
    axes.set_ylabel("hypervolume [halvings of the file]")
    figure.savefig(path, format="png")


def _by_cost(dot: Dot) -> tuple[float, float]:
    return dot.point


def _member(result: SearchResult, axis: _Axis, scored: Scored) -> Dot:
    rise = f"{100 * result.rise(scored):+.2f} %"
    tip = f"{result.title(scored)}: {result.ratio(scored):.1f}x smaller, {rise}"
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
    rise = 100 * result.rise(result.best)
    cost = axis.write(axis.cost(result.best.values))
    smaller = f", {result.ratio(result.best):.1f}x smaller" if axis is _SIZE else ""
    return f"best: {cost}{smaller}, {rise:+.2f} %"


def _caption(result: SearchResult, trials: Sequence[TrialResult], outside: int) -> str:
    unmeasured = sum(result.metric not in trial.values for trial in trials)
    unmeasured += result.without_file
    noun = "trial" if result.trials == 1 else "trials"
    parts = [f"{result.trials} {noun}, {len(result.front)} on the front"]
    parts += [f"{unmeasured} given up early"] if unmeasured else []
    side = "above" if result.directions[result.metric] == "minimize" else "below"
    parts += [f"{outside} {side} the range shown"] if outside else []
    return "; ".join(parts)


def _draw_axes(axes: Axes, view: FrontView) -> None:
    axes.set_xscale("log")
    axes.set_xlim(view.x_limits)
    axes.set_ylim(view.y_limits)
    axes.xaxis.set_major_locator(FixedLocator(view.x_ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axes.yaxis.set_major_locator(FixedLocator(view.y_ticks))
    _draw_frame(axes, view.title)
    axes.set_xlabel(view.axis)
    axes.set_ylabel(f"validation {view.metric}")


def _draw_frame(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", pad=22)
    axes.grid(color="#eaeef2", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_lines(axes: Axes, view: FrontView) -> None:
    axes.axhline(view.baseline, color=_BASELINE, linewidth=1, linestyle=(0, (5, 4)), zorder=1)
    axes.annotate(
        view.baseline_note,
        (0, view.baseline),
        xycoords=axes.get_yaxis_transform(),
        xytext=(6, -5 if view.lower_is_better else 5),
        textcoords="offset points",
        va="top" if view.lower_is_better else "bottom",
        fontsize=8.5,
        color=_BASELINE,
    )
    if view.limit is not None:
        axes.axvline(view.limit, color=_BUDGET, linewidth=1.2, zorder=1)
        axes.annotate(
            view.limit_note,
            (view.limit, 1),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            color=_BUDGET,
        )


def _draw_points(axes: Axes, view: FrontView) -> None:
    _scatter(axes, view.trials, s=14, color=_TRIAL, linewidths=0, zorder=2, label="other trials")
    corners = [dot.point for dot in view.steps]
    if corners:
        xs, ys = zip(*corners, strict=True)
        axes.plot(xs, ys, drawstyle="steps-post", color=_FRONT, linewidth=1.6, zorder=3)
    _scatter(axes, view.front, s=28, color=_FRONT, edgecolors="white", zorder=4, label="front")
    if view.tuned:
        style = {"marker": "D", "color": _TUNED, "edgecolors": "white"}
        _scatter(axes, view.tuned, s=46, zorder=5, label="fine-tuned", **style)
    if view.best is not None:
        _scatter(axes, [view.best], s=130, marker="*", color=_BEST, edgecolors="white", zorder=6)
        axes.annotate(
            view.best_note,
            view.best.point,
            xytext=(view.best.cost, 0.06 if view.lower_is_better else 0.94),
            textcoords=axes.get_xaxis_transform(),
            ha=view.best_side,
            va="center",
            fontsize=9,
            color=_BEST,
            arrowprops={
                "arrowstyle": "-",
                "color": _BEST,
                "linewidth": 0.8,
                "relpos": ({"left": 0.0, "center": 0.5, "right": 1.0}[view.best_side], 0.5),
            },
            bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none"},
            zorder=5,
        )


def _scatter(axes: Axes, dots: Sequence[Dot], **style: Any) -> None:
    axes.scatter([dot.cost for dot in dots], [dot.value for dot in dots], **style)
