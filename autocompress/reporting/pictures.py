"""Pictures: the front of a search, and how small its files became."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from autocompress.outcome.tracks import TITLES
from autocompress.reporting.axes import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from autocompress.reporting.dot import Dot
    from autocompress.reporting.view import FrontView

_FRONT, _BEST, _TRIAL, _BASELINE, _BUDGET = "#1f6feb", "#d1242f", "#b3bac2", "#57606a", "#9a6700"
_TUNED, _RECOVERED = "#8250df", "#1a7f37"
_MARKERS = "os^vPX"  # of several models
_HEADROOM: dict[str, Any] = {"xytext": (0, 4), "textcoords": "offset points", "fontsize": 8.5}


class ShownFigure(Figure):
    """A figure that a notebook shows, whether or not pyplot was imported there."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()


def save_png(view: FrontView, path: Path) -> None:
    """Draw a view as a PNG file, whatever the file's name ends with.

    It has 1600 x 1000 pixels, and with a second panel 3000.
    """
    front_figure(view).savefig(path, format="png")


def front_figure(view: FrontView) -> ShownFigure:
    """Return the figure that `save_png` writes."""
    views = [view] if view.beside is None else [view, view.beside]
    size = (8 if len(views) == 1 else 15, 5)
    figure = ShownFigure(figsize=size, dpi=200, layout="constrained")
    panels = figure.subplots(1, len(views), squeeze=False)[0]
    for axes, shown in zip(panels, views, strict=True):
        _draw_axes(axes, shown)
        _draw_lines(axes, shown)
        _draw_points(axes, shown)
    # Above the axes and their title, where nothing else can be.
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=3, fontsize=8.5, frameon=False)
    figure.supxlabel(view.caption, fontsize=8, color=_BASELINE, x=0.99, ha="right")
    return figure


def save_progress(title: str, smaller: Sequence[float], path: Path) -> None:
    """Draw how many times smaller files are after each trial, as a PNG of 1600 x 1000 pixels.

    Args:
        title: Headline.
        smaller: How many times smaller the files are, after each trial; 1 or more.
        path: The file, whatever its name ends with.
    """
    figure = Figure(figsize=(8, 5), dpi=200, layout="constrained")
    axes = figure.add_subplot()
    _draw_frame(axes, title)
    after = [1.0, *smaller]
    axes.plot(after, drawstyle="steps-post", color=_FRONT, linewidth=1.6, zorder=3)
    if after[-1] > 1:
        axes.scatter(len(smaller), smaller[-1], s=28, color=_FRONT, edgecolors="white", zorder=4)
        note, where = f"{smaller[-1]:.1f}x smaller", axes.transAxes
        axes.text(1, 1.02, note, transform=where, ha="right", fontsize=9, color=_FRONT)
    axes.set_ylim(bottom=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("finished trials")
    axes.set_ylabel("times smaller")
    figure.savefig(path, format="png")


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
            ha="center",
            color=_BUDGET,
            **_HEADROOM,
        )
    if view.ceiling is not None and view.y_limits[0] <= view.ceiling <= view.y_limits[1]:
        axes.axhline(view.ceiling, color=_BUDGET, linewidth=1.2, zorder=1)
        axes.annotate(
            view.ceiling_note,
            (1, view.ceiling),
            xycoords=axes.get_yaxis_transform(),
            ha="right",
            color=_BUDGET,
            **_HEADROOM,
        )


def _draw_points(axes: Axes, view: FrontView) -> None:
    inside = [dot for dot in view.trials if not view.is_outside(dot)]
    _scatter(axes, inside, s=14, color=_TRIAL, linewidths=0, zorder=2, label="other trials")
    _draw_beyond(axes, view)
    tuned, recovered = view.steps_of(view.tuned), view.steps_of(view.recovered)
    for steps, color in ((view.steps, _FRONT), (tuned, _TUNED), (recovered, _RECOVERED)):
        if steps:
            xs, ys = zip(*(dot.point for dot in steps), strict=True)
            axes.plot(xs, ys, drawstyle="steps-post", color=color, linewidth=1.6, zorder=3)
    for (label, members), marker in zip(_fronts(view), cycle(_MARKERS)):
        style = {"color": _FRONT, "edgecolors": "white", "marker": marker}
        _scatter(axes, members, s=28, zorder=4, label=label, **style)
    for dots, marker, color, label in (
        (view.tuned, "s", _TUNED, TITLES["tuned"]),
        (view.recovered, "D", _RECOVERED, TITLES["recovered"]),
    ):
        if dots:
            style = {"marker": marker, "color": color, "edgecolors": "white"}
            _scatter(axes, dots, s=46, zorder=5, label=label, **style)
    if view.best is not None:
        best = view.clipped(view.best)
        _scatter(axes, [best], s=130, marker="*", color=_BEST, edgecolors="white", zorder=6)
        axes.annotate(
            view.best_note,
            best.point,
            xytext=(best.cost, 0.06 if view.lower_is_better else 0.94),
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


def _fronts(view: FrontView) -> list[tuple[str, list[Dot]]]:
    """Return the front, of several models by model, with what the legend says of it."""
    found: dict[str, list[Dot]] = {}
    for dot in sorted(view.front, key=lambda one: one.model):
        found.setdefault(f"front, {dot.model}" if dot.model else "front", []).append(dot)
    return list(found.items())


def _draw_beyond(axes: Axes, view: FrontView) -> None:
    """Draw at the edge of the picture what is worse than it shows, and what has no metric."""
    marker = "^" if view.lower_is_better else "v"
    beyond = [view.clipped(dot) for dot in view.trials if view.is_outside(dot)]
    style: dict[str, Any] = {"s": 22, "marker": marker, "zorder": 3, "linewidths": 0}
    style["clip_on"] = False
    if beyond:
        _scatter(axes, beyond, color=_TRIAL, label="beyond the range", **style)
    if useless := [view.clipped(dot) for dot in view.front if view.is_outside(dot)]:
        _scatter(axes, useless, color=_FRONT, **style)
    if view.given_up:
        edge = view.y_limits[1 if view.lower_is_better else 0]
        places = [dot.cost for dot in view.given_up]
        style |= {"marker": "|", "s": 40, "linewidths": 1.2, "color": _TRIAL}
        axes.scatter(places, [edge] * len(places), label="given up", **style)


def _scatter(axes: Axes, dots: Sequence[Dot], **style: Any) -> None:
    axes.scatter([dot.cost for dot in dots], [dot.value for dot in dots], **style)
