"""A search's result for people: a table and a few lines for the terminal, and files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autocompress.outcome.cautions import cautions
from autocompress.outcome.limits import RISE, Limit, excesses, format_bytes, parse_rise
from autocompress.outcome.metric import distance
from autocompress.outcome.names import LATENCY_MS, SIZE
from autocompress.reporting.columns import Columns
from autocompress.reporting.insight import worsening
from autocompress.support.files import write_whole

if TYPE_CHECKING:
    import pandas as pd

    from autocompress.outcome.results import Scored, SearchResult, TrialResult


def front_table(result: SearchResult) -> Columns:
    """Return the front as a table, smallest file first, below the baseline; the best is marked.

    Plans are too long for it: `autocompress inspect` and the page show them.
    """
    table = Columns(
        _header(result)[:-1], title=f"{result.name}: the front", caption=result.measure
    )
    best = _best_row(result)
    for number, cells in enumerate(_rows(result)):
        style = "bold green" if number == best else "" if number else "dim"
        ends = number in (0, len(result.front))
        table.add(*cells[:-1], style=style, ends_section=ends)
    return table


def summary_lines(result: SearchResult) -> list[str]:
    """Say in a few lines which plan is the best, or how far the nearest one is from fitting."""
    best = result.best
    if best is None:
        return [_failure(result), *_recovery_lines(result)]
    under = _limits(result)
    ratio = f"{result.ratio(best):.1f}x smaller than {format_bytes(result.baseline.size_bytes)}"
    ratio += " in single precision"
    valid = _number(best.values[result.metric])
    test = "" if best.test is None else f", {_number(best.test)} on test data"
    lines = [
        *(f"warning: {caution}" for caution in cautions(result)),
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
        lines.append(f"{name} {_number(best.values[name])} of at most {bound:.4g}")
    if best.onnx is not None:
        lines.append(f"ONNX model: {best.onnx}, {best.values[LATENCY_MS]:.4f} ms a step")
    return [*lines, f"file: {best.artifact}", *_recovery_lines(result)]


def _left_of_rise(result: SearchResult, best: Scored, limit: Limit) -> str:
    """Say how much more of the metric might have been lost."""
    what = f"{'rise' if _falls(result) else 'drop'} by {limit}"
    if limit.unit == RISE:
        points = 100 * (limit.bound - worsening(result, best.values))
        return f"{points:.2f} points of the {what} are left"
    values = best.values[result.metric], result.baseline.values[result.metric]
    left = limit.bound - distance(*values, result.directions[result.metric])
    return f"{left:.4g} of the {what} are left"


def _falls(result: SearchResult) -> bool:
    """Whether less of the metric is better, so that what is worse has risen."""
    return result.directions[result.metric] == "minimize"


def _nearest(result: SearchResult) -> str:
    nearest = result.nearest
    if nearest is None:
        return ""
    parts = [format_bytes(nearest.size_bytes), result.change(nearest)]
    parts += [f"{name} {_number(nearest.values[name])}" for name in result.limits]
    return f"; the nearest, {result.title(nearest)}: {', '.join(parts)}"


def _limits(result: SearchResult) -> str:
    """Name the limits, as in " under 1 MB and +1 %"."""
    parts = [] if result.budget_bytes is None else [format_bytes(result.budget_bytes)]
    if result.max_rise is not None:
        limit = parse_rise(result.max_rise)
        parts.append(f"{'+' if _falls(result) or not limit.bound else '-'}{limit}")
    parts += [f"{name} {bound:g}" for name, bound in result.limits.items()]
    return f" under {' and '.join(parts)}" if parts else ""


def _recovery_lines(result: SearchResult) -> list[str]:
    """Tell what fine-tuning gave, and then the controls."""
    return [_recovery_line(result, scored) for scored in (*result.recovered, *result.controls)]


def _recovery_line(result: SearchResult, scored: Scored) -> str:
    score = f"{result.metric} {_number(scored.values[result.metric])} ({result.change(scored)})"
    parts = [format_bytes(scored.size_bytes), score]
    parts += [f"{name} {_number(scored.values[name])}" for name in _others(result)]
    if result.bounds and scored in result.recovered:
        parts += [f"{'keeps' if result.keeps_limits(scored) else 'misses'} the limits"]
    return f"{scored.artifact.parent.name}: {', '.join(parts)}: {scored.artifact}"


def write_front(result: SearchResult, trials: Sequence[TrialResult], folder: Path) -> list[Path]:
    """Write front.csv (a row per finished trial), front.png and front.html, whole or not at all.

    Args:
        result: The search.
        trials: All finished trials.
        folder: Where to write; existing files are replaced.

    Returns:
        The three files.
    """
    # matplotlib and pandas take a second to import, and tables in a terminal need neither.
    from autocompress.reporting.page import front_page
    from autocompress.reporting.pictures import save_png
    from autocompress.reporting.view import front_view

    view = front_view(result, trials)
    html = front_page(view, _header(result), _rows(result), _best_row(result), cautions(result))
    frame = trials_frame(result, trials)
    return [
        write_whole(folder / "front.csv", lambda path: frame.to_csv(path, index=False)),
        write_whole(folder / "front.png", lambda path: save_png(view, path)),
        write_whole(folder / "front.html", lambda path: path.write_text(html, encoding="utf-8")),
    ]


def trials_frame(result: SearchResult, trials: Sequence[TrialResult]) -> pd.DataFrame:
    """Return a row per finished trial; objectives that were not measured are empty."""
    import pandas as pd

    front = {scored.trial: scored for scored in result.front}
    columns = {
        "trial": [trial.number for trial in trials],
        **{name: [trial.values.get(name) for trial in trials] for name in result.directions},
        SIZE: [trial.size_bytes for trial in trials],
        "feasible": [trial.feasible for trial in trials],
        "front": [trial.number in front for trial in trials],
        "best": [trial.number in front and front[trial.number] == result.best for trial in trials],
    }
    return pd.DataFrame(columns)


def _failure(result: SearchResult) -> str:
    if result.smallest_bytes is None:
        return "no trial has finished"
    budget = result.budget_bytes
    excess = excesses({SIZE: result.smallest_bytes}, result.bounds).get(SIZE, 0.0)
    if budget is None or excess <= 0:
        return f"no plan found is{_limits(result)}{_nearest(result)}"
    distance = f"{100 * excess:.1f} % above" if excess < 1 else f"{1 + excess:.1f} times"
    return (
        f"no plan fits {format_bytes(budget)}: the smallest file found has "
        f"{format_bytes(result.smallest_bytes)}, {distance} the budget"
    )


def _number(value: float) -> str:
    """Write four digits without an exponent, so that the points of a column are aligned."""
    if not math.isfinite(value):
        return str(value)
    decimals = 3 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{max(decimals, 0)}f}"


def _header(result: SearchResult) -> list[str]:
    metric = result.metric
    numbers = ["trial", "size", "smaller", f"valid {metric}", "change", f"test {metric}"]
    return [*numbers, *_others(result), "plan"]


def _rows(result: SearchResult) -> list[list[str]]:
    """Write the baseline, the front and what was fine-tuned as cells, one row each."""
    return [_cells(result, scored) for scored in _shown(result)]


def _shown(result: SearchResult) -> tuple[Scored, ...]:
    return (result.baseline, *result.front, *result.recovered)


def _best_row(result: SearchResult) -> int | None:
    return next((row for row, one in enumerate(_shown(result)) if one == result.best), None)


def _cells(result: SearchResult, scored: Scored) -> list[str]:
    # The word "best", since colours are lost in a pipe.
    best = "best " if scored == result.best else ""
    title = result.title(scored).removeprefix("trial ")
    others = [_number(scored.values[name]) for name in _others(result)]
    return [
        f"{best}{title}",
        format_bytes(scored.size_bytes),
        f"{result.ratio(scored):.1f}x",
        _number(scored.values[result.metric]),
        "" if scored.trial is None else result.change(scored),
        "" if scored.test is None else _number(scored.test),
        *others,
        scored.label,
    ]


def _others(result: SearchResult) -> list[str]:
    return [name for name in result.directions if name not in (SIZE, result.metric)]
