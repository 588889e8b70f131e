"""What tables say of the models of a search of several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autocompress.outcome.limits import format_bytes
from autocompress.reporting.rows import number

if TYPE_CHECKING:
    from autocompress.outcome.results import SearchResult


def contender_header(result: SearchResult) -> list[str]:
    """Return the titles of the columns that `contender_rows` fills; the last one is prose."""
    return ["model", "uncompressed", f"valid {result.metric}", "trials", "on the front", "note"]


def contender_rows(result: SearchResult) -> list[list[str]]:
    """Write the models as cells, a row for each; nothing for a search of one model."""
    members = [one.model for one in result.front]
    return [
        [
            one.name,
            format_bytes(one.size_bytes),
            number(one.value),
            str(one.trials),
            str(members.count(one.name)),
            _note(result, one.name, one.left_out),
        ]
        for one in result.models
    ]


def _note(result: SearchResult, name: str, left_out: str | None) -> str:
    parts = ["what all is compared with"] if name == result.baseline.model else []
    return "; ".join([*parts, *([] if left_out is None else [f"left out: {left_out}"])])
