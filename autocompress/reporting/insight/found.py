"""The first half of report.md: what was found, what size buys, and where the bytes go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autocompress.artifact import open_artifact
from autocompress.outcome.cautions import cautions
from autocompress.outcome.limits import format_bytes
from autocompress.outcome.tracks import TITLES
from autocompress.reporting.answer import best_lines, miss_lines, track_lines
from autocompress.reporting.contenders import contender_header, contender_rows
from autocompress.reporting.costs import most, weight_costs
from autocompress.reporting.rows import (
    PROSPECTS,
    cells,
    folded_note,
    header,
    missing_tracks,
    nearest_header,
    nearest_rows,
    prospect_rows,
    shown,
    track_header,
    track_rows,
    trained_tracks,
)

if TYPE_CHECKING:
    from autocompress.outcome.results import Scored, SearchResult, TrialResult

_WEIGHTS = 40


def answer_section(result: SearchResult) -> list[str]:
    """Begin with the answer, and what is to be known before the best is taken."""
    if result.best is None:
        missed, *nearest = miss_lines(result)
        return [f"**{missed}**", *_items(nearest)]
    best, *further = best_lines(result)
    warned = [line for caution in cautions(result) for line in (f"**Warning:** {caution}.", "")]
    return [*warned, f"**{best}**", *_items(further)]


def _items(lines: Sequence[str]) -> list[str]:
    return ["", *(f"- {line}" for line in lines)] if lines else []


def front_section(result: SearchResult) -> list[str]:
    """Show the front, best first, or what misses the limits by the least; with the files."""
    near: list[str] = []
    if result.misses:
        near = ["## The nearest plans", *_nearest(result)]
    if not result.front:
        return near or ["## The front", "", "No trial was measured that keeps the limits."]
    rows = [[*cells(result, one)[:-1], str(one.artifact)] for one in shown(result)]
    note = folded_note(result)
    lines = table([*header(result)[:-1], "file"], rows)
    front = ["## The front, best first", "", *lines, *(["", f"{note}."] if note else [])]
    return [*near, "", *front] if near else front


def _nearest(result: SearchResult) -> Iterator[str]:
    """Yield what misses the limits by the least, a table for each track."""
    for track in missing_tracks(result):
        yield ""
        if track != "plain":
            yield from (f"{TITLES[track].capitalize()}:", "")
        yield from table(nearest_header(result), nearest_rows(result, track))


def tuned_section(result: SearchResult) -> list[str]:
    """Show what was fine-tuned, track by track beside its controls; nothing if nothing was."""
    tracks = trained_tracks(result)
    if not tracks:
        return []
    lines = [
        "What was fine-tuned is told apart from trials, beside its control: the uncompressed",
        "model after the same fine-tuning.",
        *_items(track_lines(result)),
        "",
    ]
    for track in tracks:
        rows = track_rows(result, track, lambda one: str(one.artifact))
        lines += [f"### {TITLES[track].capitalize()}", "", *table(track_header(result), rows), ""]
    return ["## Fine-tuned", "", *lines]


def contenders_section(result: SearchResult) -> list[str]:
    """Show what became of each of several models; nothing of one."""
    if not result.models:
        return []
    lines = table(contender_header(result), contender_rows(result))
    numbers = [
        "Times smaller, and changes, are against the model with the best metric. Trials are",
        "numbered through all models.",
    ]
    return ["## The models", "", *numbers, "", *lines, ""]


def prospects_section(result: SearchResult) -> list[str]:
    """Show what so many times fewer bytes lose; nothing if that is not known."""
    if not result.prospects:
        return []
    titles = [*PROSPECTS[:2], result.metric, PROSPECTS[3]]
    told = [
        "Predictions are of the loss, from curvatures and sensitivities, corrected by what trials",
        "have shown.",
    ]
    rows = prospect_rows(result)
    return ["## What a budget buys", "", *told, "", *table(titles, rows), ""]


def bytes_section(result: SearchResult, trials: Sequence[TrialResult]) -> list[str]:
    """Show where the bytes of the best go, or of the nearest.

    Raises:
        ArtifactError: If its file cannot be opened.
    """
    chosen = result.best or result.nearest
    if chosen is None:
        return []
    rises = _rises(result, trials, chosen)
    costs = most(weight_costs(open_artifact(chosen.artifact), rises), _WEIGHTS)
    loss = sum(cost.rise or 0.0 for cost in costs)
    titles = ["weight", "before", "after", "bits per weight", "share of the loss", "stored as"]
    rows = [
        [
            f"`{cost.name}`",
            format_bytes(cost.before),
            format_bytes(cost.after),
            f"{cost.bits:.2f}",
            f"{100 * (cost.rise or 0.0) / loss:.0f} %" if loss > 0 else "-",
            cost.method,
        ]
        for cost in costs
    ]
    told = [f"Of {result.title(chosen)}; the share of the loss is that of its predicted rise.", ""]
    return [f"## Where the bytes go: {result.title(chosen)}", "", *told, *table(titles, rows), ""]


def _rises(
    result: SearchResult, trials: Sequence[TrialResult], chosen: Scored
) -> Mapping[str, float]:
    """Return what was predicted for the weights of a trial; training changes what errors are."""
    if chosen.track != "plain":
        return {}
    return next((one.rises for one in trials if one.number == chosen.trial), {})


def model_section(understood: Mapping[str, Any] | None) -> list[str]:
    """Show what was understood of the model: layers, ties, what is exact, and what is unknown.

    Args:
        understood: What `autocompress.knowledge.description.understood` gave, or None.
    """
    if not understood:
        return []
    rows, remedies = [], list[str]()
    for one in understood["weights"]:
        known = one["adapter"] or ("its use" if one["is_measured"] else "-")
        names = " = ".join(f"`{name}`" for name in (one["name"], *one["aliases"]))
        shape = " x ".join(map(str, one["shape"]))
        rows.append([names, shape, one["layer"], one["role"], known, _treatment(one)])
        if one["remedy"]:
            remedies.append(f"`{one['name']}`: {one['remedy']}")
    titles = ["weight", "shape", "layer", "role", "known by", "errors are counted"]
    exact = [f"`{name}`" for name in understood["exact"]]
    lines = [f"Kept exactly, as they are no weights: {', '.join(exact)}."] if exact else []
    return [
        "## What was understood of the model",
        "",
        "Names in one row are tied and stored once.",
        *lines,
        "",
        *table(titles, rows),
        *_items(remedies),
        "",
    ]


def _treatment(one: Mapping[str, Any]) -> str:
    counted = "by what they cost" if one["is_measured"] else "by their size"
    return f"{counted}; at least {one['fewest_bits']} bits" if one["fewest_bits"] else counted


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    for line in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |"
