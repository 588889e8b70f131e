"""The page of a front: the picture with tooltips above a table, in one file without any network.

MLflow shows such a page in a frame that allows scripts but no access to anything else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from autocompress.reporting.view import Dot, FrontView, plain

_WIDTH, _HEIGHT = 860, 470
_LEFT, _RIGHT, _TOP, _BOTTOM = 74, 840, 30, 420

_STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1f2328; --soft: #59636e; --grid: #e6eaef;
  --front: #1f6feb; --best: #d1242f; --trial: #b3bac2; --budget: #9a6700; --row: #f6f8fa;
  --tuned: #1a7f37; }
@media (prefers-color-scheme: dark) { :root { --page: #0d1117; --ink: #e6edf3; --soft: #9198a1;
  --grid: #262c36; --front: #58a6ff; --best: #ff7b72; --trial: #545d68; --budget: #d29922;
  --row: #151b23; --tuned: #3fb950; } }
body { margin: 24px auto; padding: 0 16px; max-width: 920px; background: var(--page);
  color: var(--ink); font: 14px/1.45 system-ui, sans-serif; }
h1 { font-size: 18px; margin: 0 0 8px; }
svg { width: 100%; height: auto; font-size: 12px; } svg.hidden { width: 0; height: 0; }
svg text { fill: var(--soft); }
.grid { stroke: var(--grid); }
.baseline { stroke: var(--soft); stroke-dasharray: 6 5; }
.budget { stroke: var(--budget); } svg .budget-note { fill: var(--budget); }
.steps { fill: none; stroke: var(--front); stroke-width: 2; }
.trial { fill: var(--trial); } .front { fill: var(--front); stroke: var(--page); }
.tuned { fill: var(--tuned); stroke: var(--page); }
.best { fill: var(--best); stroke: var(--page); }
svg .best-note { fill: var(--best); font-weight: 600; stroke: var(--page); stroke-width: 5px;
  paint-order: stroke; }
.best-line { stroke: var(--best); }
.point:hover { stroke: var(--ink); stroke-width: 2; }
.caption { color: var(--soft); margin: 4px 0 20px; }
.key { display: inline-block; width: 9px; height: 9px; border-radius: 5px; margin: 0 4px 0 8px; }
.front-key { background: var(--front); margin-left: 0; } .trial-key { background: var(--trial); }
.tuned-key { background: var(--tuned); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 10px; text-align: right; white-space: nowrap; }
th { color: var(--soft); font-weight: 500; border-bottom: 1px solid var(--grid); }
th:last-child, td:last-child { text-align: left; white-space: normal; min-width: 16em; }
tbody tr:nth-child(even) { background: var(--row); }
tr.best-row td { color: var(--best); font-weight: 600; }
#tip { position: fixed; display: none; max-width: 420px; padding: 6px 10px; pointer-events: none;
  background: var(--ink); color: var(--page); border-radius: 6px; white-space: pre-line; }
"""

_SCRIPT = """
const tip = document.getElementById("tip");
const pictures = document.getElementById("pictures");
pictures.addEventListener("pointermove", (event) => {
  const text = event.target.dataset.tip;
  tip.style.display = text ? "block" : "none";
  if (!text) return;
  tip.textContent = text;
  const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
  const top = event.clientY + 16 + tip.offsetHeight > innerHeight
    ? event.clientY - tip.offsetHeight - 10 : event.clientY + 16;
  tip.style.left = Math.max(left, 4) + "px";
  tip.style.top = top + "px";
});
pictures.addEventListener("pointerleave", () => {
  tip.style.display = "none";
});
"""


def front_page(
    view: FrontView,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    best: int | None,
    cautions: Sequence[str] = (),
) -> str:
    """Return the HTML page of a front.

    Args:
        view: What its picture shows.
        header: The titles of the table's columns.
        rows: The cells of its rows.
        best: Which row to highlight, or None.
        cautions: What is to be known before the best is taken.
    """
    title = escape(view.title)
    views = [view] if view.beside is None else [view, view.beside]
    pictures = "\n".join([_clip(), *map(_picture, views)])
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        f'<div id="pictures">\n{pictures}\n</div>\n'
        f'<p class="caption"><span class="key front-key"></span>front '
        f'<span class="key tuned-key"></span>fine-tuned '
        f'<span class="key trial-key"></span>other trials. {escape(view.caption)}</p>\n'
        f"{_table(header, rows, best)}\n"
        f"{_paragraphs(cautions)}"
        f'<div id="tip"></div>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n'
    )


def _paragraphs(cautions: Sequence[str]) -> str:
    return "".join(f"<p><strong>Warning:</strong> {escape(one)}.</p>\n" for one in cautions)


def _picture(view: FrontView) -> str:
    drawing = "\n".join([*_axes(view), *_lines(view), *_points(view)])
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">\n{drawing}\n</svg>'


def _x(view: FrontView, cost: float) -> float:
    low, high, value = (math.log(number) for number in (*view.x_limits, cost))
    return round(_LEFT + (_RIGHT - _LEFT) * (value - low) / (high - low), 1)


def _y(view: FrontView, value: float) -> float:
    low, high = view.y_limits
    return round(_BOTTOM - (_BOTTOM - _TOP) * (value - low) / (high - low), 1)


def _text(x: float, y: float, words: str, anchor: str, css: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" class="{css}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" class="{css}"/>'


def _axes(view: FrontView) -> list[str]:
    parts = []
    for tick in view.x_ticks:
        x = _x(view, tick)
        parts += [_line(x, _TOP, x, _BOTTOM, "grid")]
        parts += [_text(x, _BOTTOM + 18, plain(tick), "middle")]
    for tick in view.y_ticks:
        y = _y(view, tick)
        parts += [_line(_LEFT, y, _RIGHT, y, "grid")]
        parts += [_text(_LEFT - 8, y + 4, plain(tick), "end")]
    middle = (_TOP + _BOTTOM) / 2
    label = escape(f"validation {view.metric}")
    parts += [_text((_LEFT + _RIGHT) / 2, _BOTTOM + 42, view.axis, "middle")]
    parts += [f'<text transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">']
    return [*parts, f"{label}</text>"]


def _lines(view: FrontView) -> list[str]:
    y = _y(view, view.baseline)
    note = y + 16 if view.lower_is_better else y - 7
    parts = [_line(_LEFT, y, _RIGHT, y, "baseline")]
    parts += [_text(_LEFT + 6, note, view.baseline_note, "start")]
    if view.limit is not None:
        x = _x(view, view.limit)
        parts += [_line(x, _TOP, x, _BOTTOM, "budget")]
        parts += [_text(x, _TOP - 8, view.limit_note, "middle", "budget-note")]
    return parts


def _points(view: FrontView) -> list[str]:
    parts = [_circle(view, dot, 3, "trial") for dot in view.trials]
    if view.steps:
        parts.append(f'<path class="steps" d="{_path(view)}" clip-path="url(#inside)"/>')
    parts += [_circle(view, dot, 5, "front") for dot in view.front]
    parts += [_circle(view, dot, 6, "tuned") for dot in view.tuned]
    return [*parts, *(_best(view, view.best) if view.best else [])]


def _clip() -> str:
    """Define the inside of the axes, beyond which the line through the front is cut off."""
    size = f'width="{_RIGHT - _LEFT}" height="{_BOTTOM - _TOP}"'
    inside = f'<clipPath id="inside"><rect x="{_LEFT}" y="{_TOP}" {size}/></clipPath>'
    return f'<svg class="hidden">{inside}</svg>'


def _path(view: FrontView) -> str:
    (x, y), *rest = ((_x(view, dot.cost), _y(view, dot.value)) for dot in view.steps)
    return " ".join([f"M{x} {y}", *(f"H{x} V{y}" for x, y in rest)])


def _circle(view: FrontView, dot: Dot, radius: int, css: str) -> str:
    if not view.y_limits[0] <= dot.value <= view.y_limits[1]:
        return ""
    place = f'cx="{_x(view, dot.cost)}" cy="{_y(view, dot.value)}" r="{radius}"'
    return f'<circle {place} class="point {css}" data-tip="{escape(dot.tip)}"/>'


def _best(view: FrontView, best: Dot) -> list[str]:
    x, y = _x(view, best.cost), _y(view, best.value)
    note = _BOTTOM - 16 if view.lower_is_better else _TOP + 22
    anchor = {"left": "start", "center": "middle", "right": "end"}[view.best_side]
    return [
        _line(x, y, x, note - 12 if view.lower_is_better else note + 5, "best-line"),
        _circle(view, best, 7, "best"),
        _text(x, note, view.best_note, anchor, "best-note"),
    ]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], best: int | None) -> str:
    body = "\n".join(
        f'<tr class="{"best-row" if number == best else ""}">{_cells("td", row)}</tr>'
        for number, row in enumerate(rows)
    )
    head = f"<thead><tr>{_cells('th', header)}</tr></thead>"
    return f'<div class="scroll"><table>\n{head}\n<tbody>\n{body}\n</tbody></table></div>'


def _cells(tag: str, texts: Sequence[str]) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)
