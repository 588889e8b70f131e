"""The picture of a search as SVG, for its page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from autocompress.reporting.axes import plain
from autocompress.reporting.dot import Dot
from autocompress.reporting.view import FrontView

_WIDTH, _HEIGHT = 860, 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 74, 840, 50, 430


def svg(view: FrontView) -> str:
    """Draw one panel of a view."""
    title = f'<text x="{_LEFT}" y="18" class="title">{escape(view.title)}</text>'
    drawing = "\n".join([title, *_axes(view), *_lines(view), *_points(view)])
    label = escape(view.title)
    head = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
    return f"{head}\n{drawing}\n</svg>"


def clip() -> str:
    """Define the inside of the axes, beyond which the line through the front is cut off."""
    size = f'width="{_RIGHT - _LEFT}" height="{_BOTTOM - _TOP}"'
    inside = f'<clipPath id="inside"><rect x="{_LEFT}" y="{_TOP}" {size}/></clipPath>'
    return f'<svg class="hidden">{inside}</svg>'


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
        parts += [_text(x, _TOP - 10, view.limit_note, _side(view, view.limit), "budget-note")]
    if view.ceiling is not None and view.y_limits[0] <= view.ceiling <= view.y_limits[1]:
        y = _y(view, view.ceiling)
        parts += [_line(_LEFT, y, _RIGHT, y, "budget")]
        parts += [_text(_RIGHT, y - 6, view.ceiling_note, "end", "budget-note")]
    return parts


def _side(view: FrontView, cost: float) -> str:
    """Return which end of a note stands at a cost, so that it stays inside."""
    place = (_x(view, cost) - _LEFT) / (_RIGHT - _LEFT)
    return "start" if place < 0.1 else "end" if place > 0.9 else "middle"


def _points(view: FrontView) -> list[str]:
    parts = [_tick(view, dot) for dot in view.given_up]
    parts += [_mark(view, dot, 4, "trial") for dot in view.trials]
    tuned, recovered = view.steps_of(view.tuned), view.steps_of(view.recovered)
    for css, steps in (
        ("steps", view.steps),
        ("steps tuned-steps", tuned),
        ("steps recovered-steps", recovered),
    ):
        if steps:
            parts.append(
                f'<path class="{css}" d="{_path(view, steps)}" clip-path="url(#inside)"/>'
            )
    parts += [_mark(view, dot, 6, "front") for dot in view.front]
    parts += [_mark(view, dot, 7, "tuned") for dot in view.tuned]
    parts += [_mark(view, dot, 7, "recovered") for dot in view.recovered]
    return [*parts, *(_best(view, view.best) if view.best else [])]


def _path(view: FrontView, steps: Sequence[Dot]) -> str:
    (x, y), *rest = ((_x(view, dot.cost), _y(view, dot.value)) for dot in steps)
    return " ".join([f"M{x} {y}", *(f"H{x} V{y}" for x, y in rest)])


def _mark(view: FrontView, dot: Dot, radius: int, css: str) -> str:
    """Draw a dot, or a triangle at the edge for what lies beyond the range shown."""
    if not view.is_outside(dot):
        place = f'cx="{_x(view, dot.cost)}" cy="{_y(view, dot.value)}" r="{radius}"'
        return f"<circle {place} {_told(dot, css)}/>"
    edge = view.clipped(dot)
    x, y = _x(view, edge.cost), _y(view, edge.value)
    base = y + (radius + 3 if dot.value > view.y_limits[1] else -radius - 3)
    corners = f"{x},{y} {x - radius},{base} {x + radius},{base}"
    return f'<polygon points="{corners}" {_told(dot, css)}/>'


def _tick(view: FrontView, dot: Dot) -> str:
    """Draw what was not measured whole: its cost at the edge where the worst metrics are."""
    y = _TOP if view.lower_is_better else _BOTTOM - 12
    return (
        f'<rect x="{_x(view, dot.cost) - 1}" y="{y}" width="3" height="12" {_told(dot, "trial")}/>'
    )


def _told(dot: Dot, css: str) -> str:
    tip, key = escape(dot.tip), escape(dot.key)
    return f'class="point {css}" tabindex="0" role="button" data-key="{key}" data-tip="{tip}"'


def _best(view: FrontView, best: Dot) -> list[str]:
    x, y = _x(view, best.cost), _y(view, view.clipped(best).value)
    note = _BOTTOM - 16 if view.lower_is_better else _TOP + 22
    anchor = {"left": "start", "center": "middle", "right": "end"}[view.best_side]
    return [
        _line(x, y, x, note - 12 if view.lower_is_better else note + 5, "best-line"),
        _mark(view, best, 8, "best"),
        _text(x, note, view.best_note, anchor, "best-note"),
    ]
