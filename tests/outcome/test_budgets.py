"""Budgets as people say them, and rises in the unit of a metric."""

from __future__ import annotations

from fractions import Fraction

import pytest

from autocompress.errors import BudgetError
from autocompress.outcome.budgets import RelativeBudget, parse_budget
from autocompress.outcome.limits import RISE, WORSE, Budget, Limit, parse_rise


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("2MB", 2_000_000),
        ("2MiB", 2**21),
        ("800 kb", 800_000),
        (1234, 1234),
        ("10x", 1_860_000),
        ("2.5 X", 7_440_000),
        ("3bpw", 375_000),
        ("0.5bpw", 62_500),
        (Budget(77), 77),
        (RelativeBudget(Fraction(3), "x"), 6_200_000),
    ],
)
def test_every_way_to_say_a_budget_becomes_bytes(
    text: str | int | Budget | RelativeBudget, limit: int
) -> None:
    budget = parse_budget(text)
    if isinstance(budget, RelativeBudget):
        assert parse_budget(str(budget)) == budget
        budget = budget.of(18_600_000, 1_000_000)
    assert budget == Budget(limit)


@pytest.mark.parametrize(
    "text", ["", " ", "x", "0x", "-3x", "0", "0.1", "3 bits", "10 times", "1e6", "nan", True]
)
def test_what_is_no_budget_is_refused(text: str | bool) -> None:
    with pytest.raises(BudgetError, match="budget"):
        parse_budget(text)


def test_a_share_below_a_byte_is_refused() -> None:
    with pytest.raises(BudgetError, match="below one byte"):
        RelativeBudget(Fraction(1000), "x").of(900, 100)


@pytest.mark.parametrize(
    ("text", "metric"),
    [
        ("0.5ppl", "perplexity"),
        ("+0.5 PPL", "perplexity"),
        ("0.5perplexity", "perplexity"),
        ("0.5acc", "accuracy"),
        ("0.5 word-errors", "word-errors"),
        ("0.5ppl", None),
    ],
)
def test_rises_name_the_unit_of_the_metric(text: str, metric: str | None) -> None:
    assert parse_rise(text, metric) == Limit(0.5, unit=WORSE)


@pytest.mark.parametrize("text", ["0.5acc", "0.5 bits", "+0.5x"])
def test_the_unit_of_another_metric_is_refused(text: str) -> None:
    with pytest.raises(BudgetError, match=r"the metric of the task is 'perplexity'.*\+0\.5"):
        parse_rise(text, "perplexity")


def test_percentages_suit_every_metric() -> None:
    assert parse_rise("1 %", "accuracy") == Limit(0.01, unit=RISE)
