"""What a trial has come to, as a text by which a table is sorted, the best first."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autocompress.outcome.results import Scored, SearchResult, TrialResult

STANDING = "standing"

BEST, FRONT = "1 best", "2 front"
UNCOMPRESSED, KEPT = "3 uncompressed", "4 within the limits"
MISSED, GIVEN_UP = "5 misses a limit", "6 given up"


def standing_of(result: TrialResult) -> str:
    """Tell what a trial has come to while the search goes on."""
    if result.rejected is not None:
        return GIVEN_UP
    return KEPT if result.feasible else MISSED


def standing_in(result: SearchResult, scored: Scored) -> str:
    """Tell what a fine-tuned model has come to."""
    if scored == result.best:
        return BEST
    if scored in result.controls:
        return UNCOMPRESSED
    return KEPT if result.keeps_limits(scored) else MISSED
