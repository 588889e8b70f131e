"""Draw the files that `rate_distortion.py` measured, and those that were retrained.

    python benchmarks/rate_distortion_picture.py

Reads `benchmarks/results/rate_distortion.json` and `recovery.json`, and writes
`rate_distortion.png` and `rate_distortion.md` beside them. Nothing is measured.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from ptb_small import RESULTS

UNCOMPRESSED = "uncompressed"
FITTED = "this tool, fitted to a size"
RECOVERED = "this tool, fine-tuned"
CONTROL = "uncompressed, fine-tuned alike"
_TRACKS = {RECOVERED: "recovered", CONTROL: "control"}
PLAIN_8, PLAIN_4 = "8 bits per tensor", "4 bits per row"
ORT_8, ORT_4 = "ONNX Runtime, 8 bits", "ONNX Runtime, 4 and 8 bits"
LOW_RANK, LOW_RANK_8 = "truncated SVD, single precision", "truncated SVD, 8 bits"
PRUNED = "magnitude pruning, 8 bits"

# Changes up to this many per cent are drawn to scale, beyond it by their logarithm.
_LINEAR = 1.0
_Y_TICKS = (-10, -3, -1, -0.5, 0, 0.5, 1, 3, 10, 30, 100, 300)
_X_TICKS = (0.3, 0.5, 1, 2, 3, 5, 10, 20)
_X_LIMITS = (0.25, 24)
_LOW, _LOW_RETRAINED, _HIGH = -0.5, -18, 500
_OWN, _RETRAINED, _GREY = "#0969da", "#bc4c00", "#57606a"
_STYLES: dict[str, dict[str, Any]] = {
    FITTED: {"color": _OWN, "marker": "o", "linewidth": 2.2, "markersize": 6, "zorder": 5},
    ORT_8: {"color": "#1a7f37", "marker": "s"},
    ORT_4: {"color": "#1a7f37", "marker": "D", "linestyle": (0, (4, 2))},
    PLAIN_8: {"color": "#8250df", "marker": "s"},
    PLAIN_4: {"color": "#8250df", "marker": "D", "linestyle": (0, (4, 2))},
    LOW_RANK: {"color": "#9a6700", "marker": "v"},
    LOW_RANK_8: {"color": "#9a6700", "marker": "^", "linestyle": (0, (4, 2))},
    PRUNED: {"color": "#bf3989", "marker": "X", "markersize": 8.5},
    UNCOMPRESSED: {"color": "black", "marker": "*", "markersize": 13, "linestyle": "none"},
}


@dataclass(frozen=True)
class Point:
    """A file.

    Attributes:
        series: How it was made.
        name: Which of its series it is.
        size_bytes: Its length.
        valid: Perplexity over the validation set of the model reloaded from it.
    """

    series: str
    name: str
    size_bytes: int
    valid: float


def draw(folder: Path) -> None:
    """Draw the picture of a folder's figures, and write their table."""
    document = json.loads((folder / "rate_distortion.json").read_text())
    points = _grouped([Point(**point) for point in document["points"]])
    recovery = json.loads((folder / "recovery.json").read_text())
    recovered, controls = (_retrained(recovery, series) for series in _TRACKS)
    (folder / "rate_distortion.md").write_text(
        table(points, recovered, controls, document["vocabulary_bytes"])
    )
    save_png(points, recovered, controls, folder / "rate_distortion.png")


def _grouped(points: Sequence[Point]) -> list[Point]:
    """Bring the points of each series together, what is uncompressed first."""
    order = [UNCOMPRESSED, *_STYLES]
    return sorted(points, key=lambda point: order.index(point.series))


def _retrained(rows: Sequence[dict[str, Any]], series: str) -> list[Point]:
    chosen = [row for row in rows if row.get("track") == _TRACKS[series]]
    points = [Point(series, row["name"], row["size_bytes"], row["valid"]) for row in chosen]
    return sorted(points, key=lambda point: point.size_bytes)


def save_png(
    points: Sequence[Point], recovered: Sequence[Point], controls: Sequence[Point], path: Path
) -> None:
    """Draw all points as a PNG file of 2000 x 1200 pixels."""
    base = points[0].valid
    figure = Figure(figsize=(10, 6), dpi=200)
    axes = figure.add_subplot()
    figure.subplots_adjust(left=0.095, right=0.7, bottom=0.09, top=0.94)
    _draw_axes(axes, _LOW_RETRAINED if recovered or controls else _LOW)
    for series, style in _STYLES.items():
        chosen = [point for point in points if point.series == series]
        _draw_series(axes, chosen, base, style)
    if recovered:
        filled = {"color": _RETRAINED, "marker": "P", "linewidth": 2.2, "markersize": 10}
        _draw_series(axes, recovered, base, {**filled, "zorder": 6})
    for control in controls:
        level = _change(control, base)
        axes.axhline(level, color=_RETRAINED, linewidth=1.4, linestyle=(0, (5, 3)))
    _draw_legends(axes, bool(recovered), bool(controls))
    figure.savefig(path, format="png")


def _change(point: Point, base: float) -> float:
    """Return the change of perplexity in per cent."""
    return 100 * (point.valid / base - 1)


def _draw_axes(axes: Axes, low: float) -> None:
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=_LINEAR, linscale=1.2)
    axes.set_xlim(_X_LIMITS)
    axes.set_ylim(low, _HIGH)
    for axis, ticks in ((axes.xaxis, _X_TICKS), (axes.yaxis, _Y_TICKS)):
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _signed(value)))
    axes.set_title(
        "2x200 LSTM on Penn Treebank: size of the file and rise of perplexity",
        loc="left",
        fontsize=12,
        fontweight="bold",
    )
    axes.set_xlabel("size of the whole file [MB = 10⁶ bytes], logarithmic")
    axes.set_ylabel("change of validation perplexity [%],\nto scale up to ±1, logarithmic beyond")
    axes.axhline(0, color=_GREY, linewidth=0.9)
    axes.grid(color="#eaeef2", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _signed(value: float) -> str:
    return f"{value:+g}".replace("-", "\N{MINUS SIGN}") if value else "0"


def _draw_series(axes: Axes, points: Sequence[Point], base: float, style: dict[str, Any]) -> None:
    """Draw a series; of a file and its zstd form, the latter is hollow."""
    ordered = sorted(points, key=lambda point: point.size_bytes)
    style = {"linewidth": 1.3, "markersize": 6.5, "zorder": 4, **style}
    sizes = [point.size_bytes / 1e6 for point in ordered]
    changes = [_change(point, base) for point in ordered]
    axes.plot(sizes, changes, **{**style, "marker": ""})
    for point, size, change in zip(ordered, sizes, changes, strict=True):
        face = "white" if _is_zipped(point) else style["color"]
        edge = style["color"] if _is_zipped(point) else "white"
        marker = {key: style[key] for key in ("marker", "markersize", "zorder")}
        axes.plot(size, change, markerfacecolor=face, markeredgecolor=edge, **marker)


def _is_zipped(point: Point) -> bool:
    return point.name.startswith("zstd")


def _draw_legends(axes: Axes, recovered: bool, controls: bool) -> None:
    """List the tracks apart from each other, outside of the axes."""
    without = {
        (f"{series} *" if _has_vocabulary(series) else series): style
        for series, style in _STYLES.items()
    }
    handles = [_handle(label, style) for label, style in without.items()]
    hollow = {"color": _GREY, "marker": "s", "linestyle": "none"}
    hollow |= {"markerfacecolor": "white", "markeredgecolor": _GREY}
    handles.append(_handle("hollow: the same under zstd -19", hollow))
    place: dict[str, Any] = {
        "loc": "upper left",
        "fontsize": 9,
        "frameon": False,
        "alignment": "left",
    }
    first = axes.legend(
        handles=handles, title="WITHOUT RETRAINING", bbox_to_anchor=(1.01, 1.0), **place
    )
    axes.add_artist(first)
    retrained = []
    if recovered:
        retrained.append(
            _handle(f"{RECOVERED} *", {"color": _RETRAINED, "marker": "P", "markersize": 9})
        )
    if controls:
        dashed = {"color": _RETRAINED, "linestyle": (0, (5, 3)), "marker": ""}
        retrained.append(_handle(CONTROL, dashed))
    if retrained:
        axes.legend(
            handles=retrained, title="WITH RETRAINING", bbox_to_anchor=(1.01, 0.4), **place
        )
    axes.annotate(
        "* the file includes the vocabulary",
        (1.03, 0.0),
        xycoords="axes fraction",
        fontsize=9,
        color=_GREY,
    )


def _has_vocabulary(series: str) -> bool:
    return series not in (PLAIN_8, PLAIN_4, ORT_8, ORT_4)


def _handle(label: str, style: dict[str, Any]) -> Line2D:
    return Line2D([], [], label=label, **{"markeredgecolor": "white", "markersize": 7, **style})


def table(
    points: Sequence[Point],
    recovered: Sequence[Point],
    controls: Sequence[Point],
    vocabulary_bytes: int,
) -> str:
    """Return the figures as tables, one for each track."""
    base = points[0]
    lines = ["Without retraining:", "", *_rows(points, base)]
    if recovered or controls:
        lines += ["", "With retraining:", "", *_rows([*recovered, *controls], base)]
    note = (
        "Perplexity is over the whole validation set, of the model reloaded from the file. Files "
        f"marked * include the vocabulary ({vocabulary_bytes:,} bytes of this tool's files); the "
        "others hold the weights alone."
    )
    lines += ["", note]
    return "\n".join(lines) + "\n"


def _rows(points: Sequence[Point], base: Point) -> list[str]:
    lines = ["| | | file, bytes | times smaller | valid perplexity | change |"]
    lines.append("|---|---|---|---|---|---|")
    for point in points:
        star = " *" if _has_vocabulary(point.series) else ""
        lines.append(
            f"| {point.series}{star} | {point.name} | {point.size_bytes:,} | "
            f"{base.size_bytes / point.size_bytes:.1f} | {point.valid:.2f} | "
            f"{_change(point, base.valid):+.2f} % |"
        )
    return lines


if __name__ == "__main__":
    draw(RESULTS)
