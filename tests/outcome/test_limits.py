"""Limits: one mapping, asked for in several units, resolved against the uncompressed model."""

import pytest

from autocompress.errors import BudgetError
from autocompress.outcome.limits import (
    RISE,
    WORSE,
    Limit,
    asked_limits,
    excesses,
    parse_latency,
    parse_rise,
    parse_seconds,
    parse_size,
    resolved,
    rise_in_shares,
    rise_unit,
    written_rise,
)
from autocompress.outcome.metric import Direction

DIRECTIONS: dict[str, Direction] = {
    "size_bytes": "minimize",
    "accuracy": "maximize",
    "latency": "minimize",
    "few_bits": "maximize",
}
BASELINE = {"size_bytes": 4e6, "accuracy": 0.8, "latency": 1.01, "latency_ms": 0.4}


@pytest.mark.parametrize(
    ("limit", "value", "excess"),
    [
        (Limit(1000), 1500, 0.5),
        (Limit(1000), 1000, 0.0),
        (Limit(0.8, "maximize"), 0.6, 0.25),
        (Limit(0.8, "maximize"), 1.0, -0.25),
        (Limit(-2.0), -1.0, 0.5),
        (Limit(0.0), 0.3, 0.3),
    ],
)
def test_excess_is_a_share_of_the_limit(limit: Limit, value: float, excess: float) -> None:
    assert limit.excess(value) == pytest.approx(excess)


def test_all_limits_are_one_mapping() -> None:
    limits = asked_limits(DIRECTIONS, "accuracy", 2_000_000, 0.05, {"few_bits": 0.1})
    limits["latency"] = parse_latency("0.1ms")
    absolute = resolved(limits, BASELINE)
    assert {name: limit.bound for name, limit in absolute.items()} == {
        "few_bits": 0.1,
        "accuracy": pytest.approx(0.76),
        "size_bytes": 2_000_000,
        "latency": pytest.approx(0.25),
    }
    assert {name: limit.direction for name, limit in absolute.items()} == DIRECTIONS
    assert resolved(absolute, BASELINE) == absolute


def test_a_share_of_the_latency_needs_no_clock() -> None:
    limit = parse_latency("0.25x")
    assert resolved({"latency": limit}, {"latency": 1.1}) == {"latency": limit}
    assert parse_latency(limit) is limit
    assert str(limit) == "0.25x"


def test_what_was_not_measured_has_no_excess() -> None:
    assert excesses({"a": 2.0}, {"a": Limit(1.0), "b": Limit(1.0)}) == {"a": 1.0}


@pytest.mark.parametrize(("text", "rise"), [("1%", 0.01), ("0.5 %", 0.005), ("0%", 0), (0.2, 0.2)])
def test_rises_are_shares(text: str | float, rise: float) -> None:
    assert parse_rise(text) == Limit(rise, unit=RISE)
    assert parse_rise(written_rise(parse_rise(text))) == parse_rise(text)


@pytest.mark.parametrize(
    ("text", "bound"), [("+0.02", 0.02), (" + 3 ", 3), ("+0", 0), ("+1e-3", 0.001)]
)
def test_with_a_plus_rises_are_in_the_unit_of_the_metric(text: str, bound: float) -> None:
    limit = parse_rise(text)
    assert limit == Limit(bound, unit=WORSE)
    assert parse_rise(written_rise(limit)) == limit
    for direction, expected in (("minimize", 0.8 + bound), ("maximize", 0.8 - bound)):
        directions: dict[str, Direction] = {**DIRECTIONS, "accuracy": direction}  # type: ignore[dict-item]
        asked = asked_limits(directions, "accuracy", None, text, {})
        assert resolved(asked, BASELINE)["accuracy"].bound == pytest.approx(expected)


@pytest.mark.parametrize("text", ["1%", "+0.5"])
@pytest.mark.parametrize("baseline", [0.0, 4.0, -4.0])
def test_rises_are_counted_in_one_unit(text: str, baseline: float) -> None:
    limit = parse_rise(text)
    expected = 0.01 if text == "1%" else 0.5 / (abs(baseline) or 1)
    assert rise_in_shares(limit, baseline) == pytest.approx(expected)
    assert rise_unit(baseline) == (abs(baseline) or 1)


@pytest.mark.parametrize(
    "text", ["1", "one %", "-1%", -0.1, float("nan"), True, "0.02", "+", "+-1"]
)
def test_what_is_no_rise_is_refused(text: str | float) -> None:
    with pytest.raises(BudgetError):
        parse_rise(text)


@pytest.mark.parametrize("text", ["", "0x", "0.25", "fast", "-1ms", "1s"])
def test_what_is_no_latency_is_refused(text: str) -> None:
    with pytest.raises(BudgetError, match=r"such as 0\.25x, or a time such as 0\.1ms, but got"):
        parse_latency(text)


def test_sizes_and_times_have_units() -> None:
    assert parse_size("1.5 kB") == 1500
    assert parse_seconds("1.5h") == 5400
