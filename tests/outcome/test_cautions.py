"""What is said of a best that loses much."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autocompress.outcome.cautions import cautions
from autocompress.outcome.metric import Direction
from autocompress.outcome.results import Scored, SearchResult
from autocompress.reporting.answer import summary_lines
from autocompress.reporting.page import search_page
from autocompress.reporting.view import front_view


def found(best: float, baseline: float, direction: Direction, budget: int | None) -> SearchResult:
    def scored(trial: int | None, size: int, value: float) -> Scored:
        path = Path(f"{trial}.acz")
        return Scored(trial, path, {"size_bytes": size, "score": value}, None, "w")

    one = scored(3, 100, best)
    return SearchResult(
        name="mine",
        metric="score",
        directions={"size_bytes": "minimize", "score": direction},
        budget_bytes=budget,
        baseline=scored(None, 1000, baseline),
        best=one,
        front=(one,),
        trials=4,
        smallest_bytes=100,
        seconds=1.0,
    )


@pytest.mark.parametrize(
    ("best", "baseline", "direction", "told"),
    [
        (2.0, 1.0, "minimize", "100 % worse than that of the uncompressed model (2 against 1)"),
        (0.0175, 0.875, "maximize", "98 % worse"),
        (-3.0, -2.0, "maximize", "50 % worse"),
        (3.0, 0.0, "minimize", "is worse than that of the uncompressed model (3 against 0)"),
        (1.19, 1.0, "minimize", None),
        (0.5, 1.0, "minimize", None),
        (0.75, 0.875, "maximize", None),
        (0.0, 0.0, "minimize", None),
    ],
)
@pytest.mark.parametrize("budget", [150, None])
def test_a_best_that_is_far_worse_is_told(
    best: float, baseline: float, direction: Direction, told: str | None, budget: int | None
) -> None:
    result = found(best, baseline, direction, budget)
    said = cautions(result)
    assert result.to_json()["warnings"] == list(said)
    assert SearchResult.from_json(result.to_json()) == result
    if told is None:
        assert said == ()
        return
    (line,) = said
    assert told in line
    assert ("keeps the limits, but" in line) == (budget is not None)
    assert "state --max-rise" in line
    assert f"warning: {line}" in summary_lines(result)
    assert "Warning:" in search_page(result, [], front_view(result, []))


def test_what_a_limit_permits_was_asked_for() -> None:
    result = found(2.0, 1.0, "minimize", 150)
    assert cautions(replace(result, max_rise=1.0)) == ()
    assert cautions(replace(result, max_rise="+1.0")) == ()
    assert cautions(replace(result, best=None)) == ()


@pytest.mark.parametrize(
    ("direction", "rise", "under", "left"),
    [
        ("minimize", 0.1, "+10 %", "5.00 points of the rise by 10 % are left"),
        ("minimize", "+0.3", "+0.3", "0.2 of the rise by 0.3 are left"),
        ("maximize", 0.1, "-10 %", "5.00 points of the drop by 10 % are left"),
        ("maximize", "+0.3", "-0.3", "0.2 of the drop by 0.3 are left"),
    ],
)
def test_a_limit_is_told_in_its_own_terms(
    direction: Direction, rise: float | str, under: str, left: str
) -> None:
    best = 2.1 if direction == "minimize" else 1.9
    result = replace(found(best, 2.0, direction, None), max_rise=rise)
    lines = summary_lines(result)
    assert lines[0].startswith(f"best plan under {under}: ")
    assert left in lines
