"""The page of a search: answer, picture, what was opened, tables; one file without any network.

MLflow shows such a page in a frame that allows scripts but no access to anything else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from autocompress.artifact import open_artifact
from autocompress.errors import ArtifactError
from autocompress.outcome.cautions import cautions
from autocompress.outcome.contenders import file_of_trial, trial_title
from autocompress.outcome.limits import format_bytes
from autocompress.outcome.results import Scored
from autocompress.outcome.tracks import TITLES
from autocompress.reporting.answer import limits_text, miss_lines, nearest_line, track_lines
from autocompress.reporting.contenders import contender_header, contender_rows
from autocompress.reporting.costs import WeightCost, most, weight_costs
from autocompress.reporting.drawing import clip, svg
from autocompress.reporting.page_style import SCRIPT, STYLE
from autocompress.reporting.rows import (
    PROSPECTS,
    best_row,
    cells,
    file_of,
    folded,
    folded_note,
    header,
    key_of,
    missing_tracks,
    nearest_header,
    nearest_rows,
    prospect_rows,
    rows,
    shown,
    shown_of,
    track_header,
    track_rows,
    trained_tracks,
)
from autocompress.reporting.view import FrontView

if TYPE_CHECKING:
    from autocompress.outcome.results import SearchResult, TrialResult

_WEIGHTS = 40
_KEYS = (
    '<span class="key front-key"></span>front '
    '<span class="key tuned-key"></span>tuned without labels '
    '<span class="key recovered-key"></span>with recovery on labels '
    '<span class="key trial-key"></span>other trials, given up ones at the edge'
)
_WORDS = {"file", "misses", "known from", "note"}


def search_page(result: SearchResult, trials: Sequence[TrialResult], view: FrontView) -> str:
    """Return the HTML page of a search.

    Args:
        result: The search; the files of what it shows are opened.
        trials: All finished trials.
        view: What its picture shows.
    """
    marked = result.best or result.nearest
    first = "" if marked is None else key_of(marked)
    parts = [
        *_answer(result),
        f'<div id="pictures">\n{clip()}\n{_pictures(view)}\n</div>',
        f'<p class="caption">{_KEYS}. {escape(view.caption)}. Click on a point to open it.</p>',
        f'<section id="opened" data-first="{escape(first)}" hidden></section>',
        *_sections(result),
        f'<script type="application/json" id="models">{_models(result, trials)}</script>',
    ]
    title = escape(result.name)
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n"
        f'<div id="tip"></div>\n<script>{SCRIPT}</script>\n</body>\n</html>\n'
    )


def _pictures(view: FrontView) -> str:
    return "\n".join(map(svg, [view] if view.beside is None else [view, view.beside]))


def _answer(result: SearchResult) -> Iterator[str]:
    yield f"<h1>{escape(result.name)}</h1>"
    best = result.best
    if best is None:
        lines = "<br>".join(map(escape, miss_lines(result)))
        yield f'<p class="warning">{lines}</p>'
        return
    for caution in cautions(result):
        yield f'<p class="warning"><strong>Warning:</strong> {escape(caution)}.</p>'
    told = (
        f"best plan{limits_text(result)}: {result.title(best)}, {format_bytes(best.size_bytes)}, "
        f"{result.ratio(best):.1f}x smaller, {result.metric} {best.values[result.metric]:.4g} "
        f"({result.change(best)})"
    )
    yield f'<p class="answer">{escape(told)}</p>'
    if result.misses:
        near = "; ".join(["nothing smaller keeps the limits", *nearest_line(result)])
        yield f'<p class="warning">{escape(near)}</p>'


def _sections(result: SearchResult) -> Iterator[str]:
    """Yield the tables: what is nearest or the front, and what a budget buys."""
    if result.misses:
        for track in missing_tracks(result):
            keys = [key_of(one) for one in result.misses if one.track == track]
            which = "" if track == "plain" else f", {TITLES[track]}"
            yield f"<h2>The nearest plans{which}</h2>"
            yield _table(nearest_header(result), nearest_rows(result, track), keys=keys)
    if result.front:
        keys = [key_of(one) for one in shown(result)]
        yield "<h2>The front, best first</h2>"
        # Plans are too long for a table: the page shows one where it is opened.
        titles = header(result)[:-1]
        yield _table(titles, [row[:-1] for row in rows(result)], best_row(result), keys)
        if note := folded_note(result):
            hidden = folded(result)
            more = [cells(result, one)[:-1] for one in hidden]
            table = _table(titles, more, keys=[key_of(one) for one in hidden])
            yield f"<details><summary>{escape(note)}</summary>{table}</details>"
    for track in trained_tracks(result):
        yield f"<h2>{TITLES[track].capitalize()}</h2>"
        keys = [key_of(one) for one in shown_of(result, track)]
        tuned = track_rows(result, track)
        best = next((n for n, row in enumerate(tuned) if row[0].startswith("best ")), None)
        yield _table(track_header(result), tuned, best, keys)
    for line in track_lines(result):
        yield f"<p>{escape(line)}</p>"
    if result.models:
        yield "<h2>The models</h2>"
        yield _table(contender_header(result), contender_rows(result))
    if result.prospects:
        yield "<h2>What a budget buys</h2>"
        yield _table(["times smaller", "file", result.metric, PROSPECTS[3]], prospect_rows(result))


def _table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    best: int | None = None,
    keys: Sequence[str] = (),
) -> str:
    is_words = [title in _WORDS and place > 1 for place, title in enumerate(header)]
    lines = []
    for number, row in enumerate(rows):
        key = f' data-key="{escape(keys[number])}"' if keys else ""
        css = "best-row" if number == best else ""
        lines.append(f'<tr class="{css}"{key}>{_cells("td", row, is_words)}</tr>')
    body = "\n".join(lines)
    head = f"<thead><tr>{_cells('th', header, is_words)}</tr></thead>"
    return f'<div class="scroll"><table>\n{head}\n<tbody>\n{body}\n</tbody></table></div>'


def _cells(tag: str, texts: Sequence[str], is_words: Sequence[bool]) -> str:
    kinds = (' class="words"' if words else "" for words in is_words)
    return "".join(
        f"<{tag}{kind}>{escape(text)}</{tag}>" for text, kind in zip(texts, kinds, strict=True)
    )


def _models(result: SearchResult, trials: Sequence[TrialResult]) -> str:
    """Write what is told of each model that can be opened as JSON, safe inside of HTML."""
    rises = {trial.number: trial.rises for trial in trials}
    known: dict[str, dict[str, Any]] = {}
    models = (result.baseline, *result.front, *result.misses, *result.fine_tuned)
    controls = [one for one in result.controls if one.trial is not None]
    for one in (*models, *controls):
        own = {} if one.trial is None or one.track != "plain" else rises.get(one.trial, {})
        title = f"{result.title(one)}: {format_bytes(one.size_bytes)}"
        title += f", {result.ratio(one):.1f}x smaller, {result.change(one)}"
        known[key_of(one)] = _model(title, one.label, one, own)
    for trial in trials:
        if str(trial.number) not in known:
            known[str(trial.number)] = _other(result, trial)
    return json.dumps(known, separators=(",", ":")).replace("<", "\\u003c")


def _other(result: SearchResult, trial: TrialResult) -> dict[str, Any]:
    file = file_of_trial(result, trial.number)
    scored = Scored(trial.number, file, trial.values, None, "", model=result.baseline.model)
    is_measured = result.metric in trial.values
    told = result.change(scored) if is_measured else trial.rejected or "not measured whole"
    title = f"{trial_title(result, trial.number)}: {format_bytes(trial.size_bytes)}, {told}"
    return _model(title, trial.origin, scored, trial.rises)


def _model(title: str, told: str, scored: Scored, rises: Any) -> dict[str, Any]:
    try:
        costs = most(weight_costs(open_artifact(scored.artifact), rises), _WEIGHTS)
    except ArtifactError:
        costs = ()  # all else is known without the file
    loss = sum(cost.rise or 0.0 for cost in costs)
    weights = [_weight(cost, loss) for cost in costs]
    return {
        "title": title,
        "told": told,
        "file": file_of(scored),
        "weights": weights,
    }


def _weight(cost: WeightCost, loss: float) -> dict[str, Any]:
    share = None if cost.rise is None or loss <= 0 else round(cost.rise / loss, 4)
    return {
        "name": cost.name,
        "before": format_bytes(cost.before),
        "bytes": round(cost.after),
        "after": format_bytes(cost.after),
        "bits": f"{cost.bits:.2f}",
        "share": share,
        "method": cost.method,
    }
