"""What tables of a search say: the baseline, the front best first, what missed, what size buys."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from autocompress.outcome.contenders import trial_title
from autocompress.outcome.limits import format_bytes
from autocompress.outcome.misses import misses_of
from autocompress.outcome.names import SIZE
from autocompress.outcome.tracks import TRACKS

if TYPE_CHECKING:
    from autocompress.outcome.prospects import Prospect
    from autocompress.outcome.results import Scored, SearchResult
    from autocompress.outcome.tracks import Track

PROSPECTS = ("times smaller", "file", "loss", "known from")
"""The titles of what `prospect_rows` writes."""

_HARDLY = 1e-4  # of the metric: predictions are not as exact
_FAR = 1.0  # what is predicted to lose more than all is only known to be useless


def shown(result: SearchResult) -> tuple[Scored, ...]:
    """Return what the table of the front shows: the baseline, and the front, best first."""
    hidden = folded(result)
    return (result.baseline, *(one for one in result.ranked if one not in hidden))


def shown_of(result: SearchResult, track: Track) -> tuple[Scored, ...]:
    """Return what the table of a track of fine-tuning shows: controls, and members by size."""
    members = result.tuned if track == "tuned" else result.recovered
    ranked = sorted(members, key=lambda one: (one.how, one.size_bytes))
    return (*result.controls_of(track), *ranked)


def trained_tracks(result: SearchResult) -> tuple[Track, ...]:
    """Return the tracks of fine-tuning of which something is there."""
    return tuple(track for track in TRACKS[1:] if shown_of(result, track))


def folded(result: SearchResult) -> tuple[Scored, ...]:
    """Return the members of the front that nobody would take; the best is never one of them."""
    return tuple(one for one in result.ranked if result.is_useless(one) and one != result.best)


def folded_note(result: SearchResult) -> str | None:
    """Say in a line what was left out of a table, or return None."""
    hidden = folded(result)
    if not hidden:
        return None
    sizes = " to ".join(dict.fromkeys(format_bytes(hidden[place].size_bytes) for place in (-1, 0)))
    what = "twice" if result.directions[result.metric] == "minimize" else "half"
    return f"{len(hidden)} more, of {sizes}, with more than {what} the {result.metric}".replace(
        "more than half", "less than half"
    )


def header(result: SearchResult) -> list[str]:
    """Return the titles of the columns that `cells` fills."""
    metric = result.metric
    numbers = ["trial", "size", "smaller", f"valid {metric}", "change", f"test {metric}"]
    return [*numbers, *others(result), "plan"]


def rows(result: SearchResult) -> list[list[str]]:
    """Write what `shown` returns as cells, one row each."""
    return [cells(result, scored) for scored in shown(result)]


def best_row(result: SearchResult) -> int | None:
    """Return which of `rows` is the best, if any."""
    return next((row for row, one in enumerate(shown(result)) if one == result.best), None)


def cells(result: SearchResult, scored: Scored) -> list[str]:
    """Write one model as the cells of a row."""
    title = result.title(scored).removeprefix("trial ")
    change = "" if scored.trial is None else result.change(scored)
    return [_marked(result, scored, title), *_numbers(result, scored, change), scored.label]


def track_header(result: SearchResult) -> list[str]:
    """Return the titles of the columns that `track_rows` fills."""
    return [*header(result)[:-1], "how", "limits", "file"]


def track_rows(
    result: SearchResult, track: Track, path: Callable[[Scored], str] | None = None
) -> list[list[str]]:
    """Write what was fine-tuned in one track as cells, its controls first.

    Args:
        result: The search.
        track: Which one.
        path: Writes the path of a file; by default as `file_of` does.
    """
    return [
        [
            _marked(result, one, f"{'uncompressed' if is_control else one.trial}{one.of_model}"),
            *_numbers(result, one, result.change(one)),
            one.how,
            "" if is_control or not result.bounds else _kept(result, one),
            (path or file_of)(one),
        ]
        for one in shown_of(result, track)
        for is_control in [one in result.controls]
    ]


def _marked(result: SearchResult, scored: Scored, title: str) -> str:
    # The word "best", since colours are lost in a pipe.
    return f"best {title}" if scored == result.best else title


def _numbers(result: SearchResult, scored: Scored, change: str) -> list[str]:
    return [
        format_bytes(scored.size_bytes),
        f"{result.ratio(scored):.1f}x",
        number(scored.values[result.metric]),
        change,
        "" if scored.test is None else number(scored.test),
        *(number(scored.values[name]) for name in others(result)),
    ]


def _kept(result: SearchResult, scored: Scored) -> str:
    return "kept" if result.keeps_limits(scored) else "missed"


def nearest_header(result: SearchResult) -> list[str]:
    """Return the titles of the columns that `nearest_rows` fills."""
    return ["trial", "size", "smaller", "change", *others(result), "misses", "file"]


def file_of(scored: Scored) -> str:
    """Return the path of a file from the folder of its search, where page and report lie."""
    return "/".join(scored.artifact.parts[-3 if scored.model is None else -5 :])


def missing_tracks(result: SearchResult) -> tuple[Track, ...]:
    """Return the tracks of what misses the limits by the least, that of the nearest first."""
    return tuple(dict.fromkeys(one.track for one in result.misses))


def key_of(scored: Scored) -> str:
    """Name a model in few characters: by its trial, or what was fine-tuned by its folder."""
    if scored.track == "plain" or scored.trial is None:
        return str(scored.trial)
    return scored.folder_name


def nearest_rows(
    result: SearchResult, track: Track, path: Callable[[Scored], str] = file_of
) -> list[list[str]]:
    """Write what of a track misses the limits by the least as cells, the nearest first.

    Args:
        result: The search.
        track: Which one.
        path: Writes the path of a file.
    """
    return [
        [
            result.title(one).removeprefix("trial "),
            format_bytes(one.size_bytes),
            f"{result.ratio(one):.1f}x",
            result.change(one),
            *(number(one.values[name]) for name in others(result)),
            " and ".join(_objective(miss.objective) for miss in misses_of(result, one)),
            path(one),
        ]
        for one in result.misses
        if one.track == track
    ]


def _objective(name: str) -> str:
    return "size" if name == SIZE else name


def prospect_rows(result: SearchResult) -> list[list[str]]:
    """Write what so many times fewer bytes lose as cells, titled by `PROSPECTS`."""
    return [
        [
            f"{one.times:g}x",
            format_bytes(one.size_bytes),
            _loss(result, one),
            _source(result, one),
        ]
        for one in result.prospects
    ]


def _loss(result: SearchResult, prospect: Prospect) -> str:
    if prospect.rise is None:
        return "not possible"
    if prospect.trial is None and prospect.rise > _FAR:
        return "useless"
    if prospect.trial is None and prospect.rise < _HARDLY:
        return f"below {100 * _HARDLY:g} %"
    # Of a metric that is maximised, what is lost is written as a fall.
    rises = result.directions[result.metric] == "minimize"
    change = 100 * (prospect.rise if rises else -prospect.rise)
    return f"{change:+.2f} %" if prospect.trial is not None else f"about {change:+.2g} %"


def _source(result: SearchResult, prospect: Prospect) -> str:
    if prospect.rise is None:
        return "the search space offers nothing so small"
    if prospect.trial is None:
        return "predicted"
    ratio = result.baseline.size_bytes / prospect.size_bytes
    return f"measured, {trial_title(result, prospect.trial)}, {ratio:.1f}x"


def others(result: SearchResult) -> list[str]:
    """Return the names of the objectives beside size and the task's metric."""
    return [name for name in result.directions if name not in (SIZE, result.metric)]


def number(value: float) -> str:
    """Write four digits without an exponent, so that the points of a column are aligned."""
    if not math.isfinite(value):
        return str(value)
    decimals = 3 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{max(decimals, 0)}f}"
