"""Headers that are small and cost much are refused with few words."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from autocompress.artifact.headers import read_header
from autocompress.errors import ArtifactError

_MANY = 100_000


def header(**changes: Any) -> dict[str, Any]:
    """Return a header of one item, with changes to it."""
    item = {
        "name": "w",
        "members": [{"name": "w", "shape": [3]}],
        "treatment": {"structure": {"kind": "dense"}, "precision": {"kind": "float32"}},
        "factors": {},
    }
    return {"source_sha256": "", "model": None, "items": [{**item, **changes}]}


@pytest.mark.parametrize(
    "document",
    [
        header(members=[{"name": "w", "shape": [{}] * _MANY}]),
        header(members=[{"name": "w", "shape": [3], "aliases": [1] * _MANY}]),
        header(members=[3] * _MANY),
        header(factors={str(number): 3 for number in range(_MANY)}),
        header(factors={"w": [3] * _MANY}),
        header(zero_rows=["x"] * _MANY),
        header(**{f"x{number}": 1 for number in range(_MANY)}),
        header(treatment={f"x{number}": 1 for number in range(_MANY)}),
        {**header(), "needs": {str(number): 3 for number in range(_MANY)}},
        {**header(), "needs": {"a": {str(number): 3 for number in range(_MANY)}}},
        {**header(), "items": [3] * _MANY},
    ],
    ids=lambda document: str(document)[60:100],
)
def test_a_million_findings_are_told_in_few_words(document: Any) -> None:
    packed = zlib.compress(json.dumps(document).encode())
    with pytest.raises(ArtifactError, match="header is invalid") as caught:
        read_header(Path("x.acz"), 2, packed, {})
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable()


def test_the_header_that_was_changed_is_valid() -> None:
    packed = zlib.compress(json.dumps(header()).encode())
    assert read_header(Path("x.acz"), 2, packed, {}).items[0].name == "w"
