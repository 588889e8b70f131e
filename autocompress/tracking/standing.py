"""What a trial has come to, as a text by which a table is sorted, the best first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autocompress.outcome.tracks import TITLES
from autocompress.tracking.figures import truth

if TYPE_CHECKING:
    from autocompress.outcome.results import Scored, SearchResult, TrialResult

STANDING, TRACK, MODEL = "standing", "track", "model"
"""Tags: what a trial has come to, how it was trained, and which of several models it is of."""

BEST, FRONT, USELESS = "1 best", "2 front {:02d}", "2 front, but of no use"
UNCOMPRESSED, KEPT = "3 uncompressed", "4 within the limits"
MISSED, GIVEN_UP = "5 misses a limit", "6 given up"


def standing_of(result: TrialResult) -> str:
    """Tell what a trial has come to while the search goes on."""
    if result.rejected is not None:
        return GIVEN_UP
    return KEPT if result.feasible else MISSED


def tags_of(result: TrialResult) -> dict[str, str]:
    """Return what tags tell of a trial while the search goes on."""
    return {
        "feasible": truth(result.feasible),
        "front": truth(False),
        "best": truth(False),
        "origin": result.origin,
        "rejected": result.rejected or "no",
        TRACK: TITLES["plain"],
        STANDING: standing_of(result),
    }


def standing_in(result: SearchResult, scored: Scored) -> str:
    """Tell what a fine-tuned model has come to."""
    if scored == result.best:
        return BEST
    if scored in result.controls:
        return UNCOMPRESSED
    return KEPT if result.keeps_limits(scored) else MISSED


def standings(result: SearchResult) -> dict[int, str]:
    """Tell what the trials of the front have come to, by their numbers."""
    others = [one for one in result.ranked if one != result.best]
    useful = [one for one in others if not result.is_useless(one)]
    ranks = {id(one): FRONT.format(rank) for rank, one in enumerate(useful, start=1)}
    return {
        one.trial: BEST if one == result.best else ranks.get(id(one), USELESS)
        for one in result.front
        if one.trial is not None
    }
