"""The picture of a front: file size, and latency where it counts, against the task's metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from autocompress.objectives import LATENCY, format_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from autocompress.results import Scored, SearchResult, TrialResult

Side = Literal["left", "center", "right"]
_MB = 1e6
_FRONT, _BEST, _TRIAL, _BASELINE, _BUDGET = "#1f6feb", "#d1242f", "#b3bac2", "#57606a", "#9a6700"


@dataclass(frozen=True)
class Dot:
    """One trial in a picture.

    Attributes:
        size: Length of its file, in MB of 10^6 bytes.
        value: Its metric.
        tip: What is told of it when it is pointed at.
    """

    size: float
    value: float
    tip: str

    @property
    def point(self) -> tuple[float, float]:
        """Size and metric."""
        return self.size, self.value


@dataclass(frozen=True)
class LatencyPanel:
    """The same plans by their latency, in shares of the uncompressed model's.

    Attributes:
        trials: The measured trials that are not on the front; `size` of a dot is its latency.
        front: The front.
        best: The best plan, or None.
        limit: The limit on the latency, or None.
    """

    trials: tuple[Dot, ...]
    front: tuple[Dot, ...]
    best: Dot | None
    limit: float | None


@dataclass(frozen=True)
class FrontView:
    """What a picture of a front shows. Sizes are in MB of 10^6 bytes.

    Attributes:
        title: Headline.
        metric: Name of the vertical axis.
        trials: The measured trials that are not on the front.
        front: The front, by size.
        steps: The best metric at each size: corners of the line through the front.
        best: The best plan, or None.
        best_note: What is written beside it.
        baseline: Metric of the baseline.
        baseline_note: What is written beside its line.
        budget: The limit on the size, or None.
        budget_note: What is written above its line.
        x_limits: Range of the sizes.
        y_limits: Range of the metric.
        lower_is_better: Whether the metric is to be minimised.
        caption: What the picture leaves out, and how many there are of what.
        latency: The second panel, or None where latency was not measured.
    """

    title: str
    metric: str
    trials: tuple[Dot, ...]
    front: tuple[Dot, ...]
    steps: tuple[Dot, ...]
    best: Dot | None
    best_note: str
    baseline: float
    baseline_note: str
    budget: float | None
    budget_note: str
    x_limits: tuple[float, float]
    y_limits: tuple[float, float]
    lower_is_better: bool
    caption: str
    latency: LatencyPanel | None = None

    @property
    def best_side(self) -> Side:
        """Which end of the best plan's note stands at its point, so that it stays inside."""
        if self.best is None:
            return "center"
        low, high, x = (math.log(value) for value in (*self.x_limits, self.best.size))
        place = (x - low) / (high - low)
        return "left" if place < 0.35 else "right" if place > 0.65 else "center"

    @property
    def x_ticks(self) -> list[float]:
        """Sizes to label, in MB."""
        return _x_ticks(*self.x_limits)

    @property
    def y_ticks(self) -> list[float]:
        """Metrics to label."""
        return _y_ticks(*self.y_limits)


def front_view(result: SearchResult, trials: Sequence[TrialResult]) -> FrontView:
    """Decide what a picture of a search shows and where its axes begin and end.

    Args:
        result: The search.
        trials: All finished trials.
    """
    metric, baseline = result.metric, result.baseline.values[result.metric]
    members = {scored.trial for scored in result.front}
    others = [trial for trial in trials if metric in trial.values and trial.number not in members]
    cloud = tuple(
        Dot(trial.size_bytes / _MB, trial.values[metric], f"trial {trial.number}")
        for trial in others
    )
    front = tuple(_dot(result, scored) for scored in result.front)
    lower = result.directions[metric] == "minimize"
    low, high = _y_limits(
        [dot.value for dot in front], [dot.value for dot in cloud], baseline, lower
    )
    budget = None if result.budget_bytes is None else result.budget_bytes / _MB
    inside = [dot.size for dot in (*front, *cloud) if low <= dot.value <= high]
    outside = len(front) + len(cloud) - len(inside)
    sizes = inside + ([] if budget is None else [budget])
    return FrontView(
        title=f"{result.name}: file size and {metric}",
        metric=metric,
        trials=cloud,
        front=front,
        steps=_steps(front, lower),
        best=_dot(result, result.best) if result.best else None,
        best_note=_best_note(result),
        baseline=baseline,
        baseline_note=f"uncompressed: {baseline:.4g}, {format_bytes(result.baseline.size_bytes)}",
        budget=budget,
        budget_note="" if budget is None else f"budget {format_bytes(budget * _MB)}",
        x_limits=_x_limits(sizes or [result.baseline.size_bytes / _MB]),
        y_limits=(low, high),
        lower_is_better=lower,
        caption=_caption(result, trials, outside, lower),
        latency=_latency_panel(result, others),
    )


def save_png(view: FrontView, path: Path) -> None:
    """Draw a view as a PNG file, whatever the file's name ends with.

    It has 1600 x 1000 pixels, and with a panel for the latency 2600.
    """
    panels = 1 if view.latency is None else 2
    figure = Figure(figsize=(8 if panels == 1 else 13, 5), dpi=200, layout="constrained")
    axes, *further = figure.subplots(1, panels, squeeze=False, sharey=True)[0]
    _draw_axes(axes, view)
    _draw_lines(axes, view)
    _draw_points(axes, view)
    for beside in further:
        _draw_latency(beside, view)
    # Above the axes, where no dot can be.
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1.06), ncols=2, fontsize=8.5, frameon=False)
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


def _latency_panel(result: SearchResult, others: Sequence[TrialResult]) -> LatencyPanel | None:
    if LATENCY not in result.directions:
        return None

    def dot(values: Mapping[str, float]) -> Dot:
        return Dot(values[LATENCY], values[result.metric], "")

    return LatencyPanel(
        trials=tuple(dot(trial.values) for trial in others),
        front=tuple(dot(scored.values) for scored in result.front),
        best=None if result.best is None else dot(result.best.values),
        limit=result.limits.get(LATENCY),
    )


def _draw_latency(axes: Axes, view: FrontView) -> None:
    panel = view.latency
    assert panel is not None
    _draw_frame(axes, "latency")
    axes.axhline(view.baseline, color=_BASELINE, linewidth=1, linestyle=(0, (5, 4)), zorder=1)
    if panel.limit is not None:
        axes.axvline(panel.limit, color=_BUDGET, linewidth=1.2, zorder=1)
    _scatter(axes, panel.trials, s=14, color=_TRIAL, linewidths=0, zorder=2)
    _scatter(axes, panel.front, s=28, color=_FRONT, edgecolors="white", zorder=4)
    if panel.best is not None:
        _scatter(axes, [panel.best], s=130, marker="*", color=_BEST, edgecolors="white", zorder=6)
    axes.set_xlim(left=0)
    axes.set_xlabel("time for a word [times the uncompressed model's]")


def _dot(result: SearchResult, scored: Scored) -> Dot:
    rise = f"{100 * result.rise(scored):+.2f} %"
    tip = f"trial {scored.trial}: {result.ratio(scored):.1f}x smaller, {rise}\n{scored.label}"
    return Dot(scored.size_bytes / _MB, scored.values[result.metric], tip)


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


def _x_limits(sizes: Sequence[float]) -> tuple[float, float]:
    low, high = math.log(min(sizes)), math.log(max(sizes))
    margin = max(0.08 * (high - low), 0.05)
    return math.exp(low - margin), math.exp(high + margin)


def _x_ticks(low: float, high: float) -> list[float]:
    """Choose round sizes for a logarithmic axis, at least three where there is room."""
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


def _best_note(result: SearchResult) -> str:
    if result.best is None:
        return ""
    rise = 100 * result.rise(result.best)
    size = format_bytes(result.best.size_bytes)
    return f"best: {size}, {result.ratio(result.best):.1f}x smaller, {rise:+.2f} %"


def _caption(
    result: SearchResult, trials: Sequence[TrialResult], outside: int, lower: bool
) -> str:
    unmeasured = sum(result.metric not in trial.values for trial in trials)
    unmeasured += result.without_file
    noun = "trial" if result.trials == 1 else "trials"
    parts = [f"{result.trials} {noun}, {len(result.front)} on the front"]
    parts += [f"{unmeasured} given up early"] if unmeasured else []
    parts += [f"{outside} {'above' if lower else 'below'} the range shown"] if outside else []
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
    axes.set_xlabel("file size [MB]")
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
    if view.budget is not None:
        axes.axvline(view.budget, color=_BUDGET, linewidth=1.2, zorder=1)
        axes.annotate(
            view.budget_note,
            (view.budget, 1),
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
    if view.best is not None:
        _scatter(axes, [view.best], s=130, marker="*", color=_BEST, edgecolors="white", zorder=6)
        axes.annotate(
            view.best_note,
            view.best.point,
            xytext=(view.best.size, 0.06 if view.lower_is_better else 0.94),
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
    axes.scatter([dot.size for dot in dots], [dot.value for dot in dots], **style)
