"""The answer of a search in a few lines: the best, or what misses the limits by the least."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autocompress.outcome.cautions import cautions
from autocompress.outcome.limits import RISE, Limit, excesses, format_bytes, parse_rise
from autocompress.outcome.metric import distance
from autocompress.outcome.misses import misses_of
from autocompress.outcome.names import LATENCY_MS, SIZE
from autocompress.outcome.tracks import TITLES
from autocompress.reporting.columns import Columns
from autocompress.reporting.contenders import contender_header, contender_rows
from autocompress.reporting.rows import (
    PROSPECTS,
    missing_tracks,
    nearest_header,
    nearest_rows,
    number,
    prospect_rows,
    track_header,
    track_rows,
    trained_tracks,
)

if TYPE_CHECKING:
    from autocompress.outcome.results import Scored, SearchResult


def summary_lines(result: SearchResult) -> list[str]:
    """Say in a few lines which plan is the best, or which are the nearest, and what size buys."""
    lines: list[str] = []
    for part in summary_parts(result):
        lines += [part] if isinstance(part, str) else [line.plain for line in part.lines()]
    return lines


def summary_parts(result: SearchResult) -> list[str | Columns]:
    """Return what `summary_lines` says as lines, and as tables that fit themselves to a width."""
    return [*answer_parts(result), *contender_parts(result), *prospect_parts(result)]


def contender_parts(result: SearchResult) -> list[str | Columns]:
    """Write what became of each of several models, as a table below a line."""
    if not result.models:
        return []
    header = contender_header(result)
    table = _filled(Columns(header, prose=header[-1:]), contender_rows(result))
    return ["", "the models:", table]


def answer_parts(result: SearchResult) -> list[str | Columns]:
    """Say which plan is the best, or how far the nearest ones are from fitting."""
    if result.best is None:
        lines = miss_lines(result)
    else:
        lines = [*(f"warning: {caution}" for caution in cautions(result)), *best_lines(result)]
    return [*lines, *_nearest_parts(result), *_track_parts(result)]


def best_lines(result: SearchResult) -> list[str]:
    """Say in a few lines which plan is the best, and how much of the limits is left."""
    best = result.best
    if best is None:
        return []
    under = limits_text(result)
    ratio = f"{result.ratio(best):.1f}x smaller than {format_bytes(result.baseline.size_bytes)}"
    ratio += " in single precision"
    valid = number(best.values[result.metric])
    test = "" if best.test is None else f", {number(best.test)} on test data"
    lines = [
        f"best plan{under}: {result.title(best)}, {format_bytes(best.size_bytes)}, {ratio}",
        f"{result.metric} {valid} on validation data ({result.change(best)}){test}",
    ]
    if result.budget_bytes is not None:
        spare = result.budget_bytes - best.size_bytes
        share = -result.bounds[SIZE].excess(best.size_bytes)
        lines.append(f"{format_bytes(spare)} ({100 * share:.1f} %) of the budget are left")
    if result.max_rise is not None:
        lines.append(_left_of_rise(result, best, parse_rise(result.max_rise)))
    for name, bound in result.limits.items():
        lines.append(f"{name} {number(best.values[name])} of at most {bound:.4g}")
    if best.onnx is not None:
        lines.append(f"ONNX model: {best.onnx}, {best.values[LATENCY_MS]:.4f} ms a step")
    lines.append(f"file: {best.artifact}")
    if result.misses:
        lines += ["nothing smaller keeps the limits", *nearest_line(result)]
    return lines


def miss_lines(result: SearchResult) -> list[str]:
    """Say that no plan keeps the limits, and by how much the nearest one misses which."""
    if result.smallest_bytes is None:
        return ["no trial has finished"]
    budget = result.budget_bytes
    excess = excesses({SIZE: result.smallest_bytes}, result.bounds).get(SIZE, 0.0)
    if budget is not None and excess > 0:
        far = f"{100 * excess:.1f} % above" if excess < 1 else f"{1 + excess:.1f} times"
        smallest = format_bytes(result.smallest_bytes)
        found = f"the smallest file found has {smallest}, {far} the budget"
        lines = [f"no plan fits {format_bytes(budget)}: {found}"]
    else:
        lines = [f"no plan found is{limits_text(result)}"]
    return [*lines, *nearest_line(result)]


def nearest_line(result: SearchResult) -> list[str]:
    """Say by how much the nearest plan misses which limit, if any was measured."""
    nearest = result.nearest
    if nearest is None:
        return []
    told = "; ".join(map(str, misses_of(result, nearest)))
    return [f"the nearest, {result.title(nearest)}: {told}"]


def _nearest_parts(result: SearchResult) -> list[str | Columns]:
    if not result.misses:
        return []
    header = nearest_header(result)
    parts: list[str | Columns] = []
    for track in missing_tracks(result):
        rows = nearest_rows(result, track, _path)
        parts += ["", *([] if track == "plain" else [f"the nearest {TITLES[track]}:"])]
        parts.append(_filled(Columns(header, prose=header[-2:]), rows))
    return parts


def _path(scored: Scored) -> str:
    return str(scored.artifact)


def _track_parts(result: SearchResult) -> list[str | Columns]:
    """Show what was fine-tuned, a table for each track, and the best of each track apart."""
    header, parts = track_header(result), list[str | Columns]()
    for track in trained_tracks(result):
        table = Columns(header, prose=header[-1:], left=header[-3:-1])
        parts += ["", f"{TITLES[track]}:", _filled(table, track_rows(result, track, _path))]
    return [*parts, *([""] if parts else []), *track_lines(result)]


def track_lines(result: SearchResult) -> list[str]:
    """Name the best of each track, where there are several."""
    if not trained_tracks(result):
        return []
    lines = []
    for track in result.tracks:
        best = result.best_of_track(track)
        told = "none keeps the limits" if best is None else _in_short(result, best)
        lines.append(f"best {TITLES[track]}: {told}")
    return lines


def _in_short(result: SearchResult, scored: Scored) -> str:
    value = f"{result.metric} {number(scored.values[result.metric])} ({result.change(scored)})"
    return f"trial {scored.trial}{scored.of_model}, {format_bytes(scored.size_bytes)}, {value}"


def prospect_parts(result: SearchResult) -> list[str | Columns]:
    """Write what so many times fewer bytes lose, as a table below a line; nothing if unknown."""
    if not result.prospects:
        return []
    header = ["times smaller", "file", result.metric, *PROSPECTS[3:]]
    table = _filled(Columns(header, prose=header[-1:]), prospect_rows(result))
    return ["", "what a budget buys:", table]


def _filled(table: Columns, rows: list[list[str]]) -> Columns:
    for cells in rows:
        table.add(*cells)
    return table


def _left_of_rise(result: SearchResult, best: Scored, limit: Limit) -> str:
    """Say how much more of the metric might have been lost."""
    what = f"{'rise' if _falls(result) else 'drop'} by {limit}"
    if limit.unit == RISE:
        points = 100 * (limit.bound - result.worsening(best.values))
        return f"{points:.2f} points of the {what} are left"
    values = best.values[result.metric], result.baseline.values[result.metric]
    left = limit.bound - distance(*values, result.directions[result.metric])
    return f"{left:.4g} of the {what} are left"


def _falls(result: SearchResult) -> bool:
    """Whether less of the metric is better, so that what is worse has risen."""
    return result.directions[result.metric] == "minimize"


def limits_text(result: SearchResult) -> str:
    """Name the limits, as in " under 1 MB and +1 %"."""
    parts = [] if result.budget_bytes is None else [format_bytes(result.budget_bytes)]
    if result.max_rise is not None:
        limit = parse_rise(result.max_rise)
        parts.append(f"{'+' if _falls(result) or not limit.bound else '-'}{limit}")
    parts += [f"{name} {bound:g}" for name, bound in result.limits.items()]
    return f" under {' and '.join(parts)}" if parts else ""
