"""What MLflow shows above a run: the answer first, in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autocompress.outcome.limits import format_bytes
from autocompress.outcome.tracks import DONE, TITLES, TRACKS
from autocompress.tracking.yardstick import RISE, TIMES_SMALLER

if TYPE_CHECKING:
    from autocompress.artifact import WeightReport
    from autocompress.outcome.results import Scored, SearchResult, TrialResult

FRONT_PICTURE, WEIGHTS_PICTURE = "front.png", "weights.png"
_ROWS = 20
_LONGEST = 7500  # MLflow cuts off longer texts
_IMAGE = re.compile(r"!\[([^\]]*)\]\(([^):]+\.png)\)")


def trial_note(headline: str, report: Sequence[WeightReport]) -> str:
    """Describe a compressed model: what it is worth, and where its bytes go."""
    lines = [f"**{headline}**", "", "| weight | structure | precision | bits each | bytes |"]
    lines.append("|---|---|---|---:|---:|")
    ranked = sorted(report, key=lambda line: -line.size_bytes)
    lines += [
        f"| {line.name} | {line.structure} | {line.precision} | {line.bits_per_weight:.2f} "
        f"| {line.size_bytes:,.0f} |"
        for line in ranked[:_ROWS]
    ]
    if len(ranked) > _ROWS:
        rest = sum(line.size_bytes for line in ranked[_ROWS:])
        lines.append(f"| {len(ranked) - _ROWS} more | | | | {rest:,.0f} |")
    return "\n".join(lines)[:_LONGEST]


def search_note(
    result: SearchResult,
    runs: Mapping[Path, str],
    model: str | None,
    picture_of_front: str | None = None,
    unserved: str | None = None,
) -> str:
    """Describe what a search found.

    Args:
        result: The search.
        runs: By the file of a model, the address of its run.
        model: The address of the registered model, or None where there is none.
        picture_of_front: Its address, or None where there is none.
        unserved: Why there is no registered model, if there might be one.
    """
    lines = [_answer(result, runs), ""]
    best = [one for one in result.ranked if one == result.best]
    found = [one for one in result.ranked if one not in best]
    others = [one for one in found if not result.is_useless(one)]
    shown = [*best, *others[: _ROWS - 1], result.baseline]
    lines += _table(result, shown, runs)
    if (unshown := len(found) - len(others[: _ROWS - 1])) > 0:
        lines += ["", f"`front.csv` has {unshown} more, which are worse or of no use."]
    for track in TRACKS[1:]:
        members = [one for one in result.fine_tuned if one.track == track]
        models = (*members[:_ROWS], *result.controls_of(track))
        if models:
            lines += ["", f"**{TITLES[track].capitalize()}**", "", *_table(result, models, runs)]
    if picture_of_front is not None:
        lines += ["", f"[The front as a picture]({picture_of_front})"]
    if model is not None:
        lines += ["", f'In Python: `mlflow.pyfunc.load_model("{model}")`']
    elif unserved is not None:
        lines += ["", f"No model is registered: {unserved}."]
    return "\n".join(lines)[:_LONGEST]


def headline(result: SearchResult, scored: Scored) -> str:
    """Say on one line what a model is worth."""
    value = f"{scored.values[result.metric]:.4g}"
    return (
        f"{format_bytes(scored.size_bytes)}, {result.ratio(scored):.1f} times smaller, "
        f"{result.metric} {value} ({result.change(scored)})"
    )


def trial_headline(
    result: TrialResult, figures: Mapping[str, float], metric: str | None = None
) -> str:
    """Say on one line what a trial is worth, while the search goes on.

    Args:
        result: The trial.
        figures: What is logged of it.
        metric: The task's, or None where that is not known.
    """
    parts = [format_bytes(result.size_bytes)]
    if TIMES_SMALLER in figures:
        parts.append(f"{figures[TIMES_SMALLER]:.1f} times smaller")
    change = f"{figures[RISE]:+.2f} %" if RISE in figures else ""
    if metric is not None and metric in figures:
        change = f"{metric} {figures[metric]:.4g}" + (f" ({change})" if change else "")
    parts += [change] if change else []
    if result.rejected is not None:
        parts.append(f"given up: {result.rejected}")
    return ", ".join(parts)


def _answer(result: SearchResult, runs: Mapping[Path, str]) -> str:
    if result.best is not None:
        which = _named(result, result.best, runs)
        return f"**{headline(result, result.best)}**: {which}, the best of {_count(result)}."
    if result.nearest is None:
        return f"**No plan keeps the limits** among {_count(result)}."
    which = _named(result, result.nearest, runs)
    near = f"{which} comes nearest: {headline(result, result.nearest)}."
    return f"**No plan keeps the limits** among {_count(result)}; {near}"


def _count(result: SearchResult) -> str:
    return f"{result.trials} trial{'s' * (result.trials != 1)}"


def _table(result: SearchResult, models: Iterable[Scored], runs: Mapping[Path, str]) -> list[str]:
    metric = result.metric
    lines = [f"| model | file | times smaller | {metric} | change | {metric} on test data |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for one in models:
        test = "" if one.test is None else f"{one.test:.4g}"
        lines.append(
            f"| {_named(result, one, runs)} | {format_bytes(one.size_bytes)} "
            f"| {result.ratio(one):.1f} | {one.values[metric]:.4g} | {result.change(one)} "
            f"| {test} |"
        )
    return lines


def _named(result: SearchResult, scored: Scored, runs: Mapping[Path, str]) -> str:
    name = "uncompressed" if scored.trial is None else result.title(scored)
    if scored in result.controls:
        name = f"uncompressed, {DONE[scored.track]} alike"
    address = runs.get(scored.artifact)
    return name if address is None else f"[{name}]({address})"


def with_named_pictures(text: str) -> str:
    """Return a Markdown text that names its pictures, since MLflow shows none from beside it."""
    return _IMAGE.sub(r"*\1: `\2`, among these files*", text)
