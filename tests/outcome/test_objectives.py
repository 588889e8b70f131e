"""Objectives and budgets."""

import math
from pathlib import Path
from typing import Any, cast

import pytest
from strategies import mixed_plan, tiny_model, write_mixed

from autocompress.artifact import open_artifact
from autocompress.errors import BudgetError, ObjectiveError
from autocompress.outcome.limits import Budget, format_bytes
from autocompress.outcome.measured import Measured
from autocompress.outcome.metric import Direction
from autocompress.outcome.objectives import Objective, size_objective


@pytest.fixture
def measured(tmp_path: Path) -> Measured:
    path = write_mixed(tmp_path / "model.acz")
    return Measured(mixed_plan(), path, open_artifact(path), tiny_model())


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("2MB", 2_000_000),
        ("1.5 MB", 1_500_000),
        ("800kB", 800_000),
        ("800 KB", 800_000),
        ("2MiB", 2 * 2**20),
        ("0.5KiB", 512),
        ("3 GiB", 3 * 2**30),
        ("1gb", 10**9),
        (" 17 B ", 17),
        ("17", 17),
        (12345, 12345),
        ("1", 1),
        ("0.0015kB", 1),
        ("8.2MB", 8_200_000),
        ("1.001 MB", 1_001_000),
        ("9007199254740993", 9007199254740993),
        ("9" * 400, int("9" * 400)),
        (Budget(7), 7),
    ],
)
def test_sizes_are_understood(text: str | int | Budget, limit: int) -> None:
    assert Budget.parse(text).limit_bytes == limit


@pytest.mark.parametrize(
    "text",
    [
        "",
        "MB",
        "2 XB",
        "two MB",
        "-2MB",
        "1e6",
        "1,5MB",
        "2MB 3",
        ".5MB",
        "2.MB",
        "nan",
        "٣MB",
        -5,
    ],
)
def test_what_is_no_size_is_refused(text: str | int) -> None:
    with pytest.raises(BudgetError, match=r"a budget is a size such as 2MB, .* but got"):
        Budget.parse(text)


@pytest.mark.parametrize("text", ["0", "0MB", "0.4", "0.0009kB", 0])
def test_less_than_a_byte_is_refused(text: str | int) -> None:
    with pytest.raises(BudgetError, match="`budget >= 1 byte` must hold"):
        Budget.parse(text)


@pytest.mark.parametrize(("size", "excess"), [(500, -0.5), (1000, 0), (1500, 0.5)])
def test_excess_is_in_shares_of_the_limit(size: int, excess: float) -> None:
    assert Budget(1000).limit.excess(size) == excess


@pytest.mark.parametrize(
    ("size", "text"),
    [(1, "1 B"), (999, "999 B"), (1000, "1 kB"), (1_234_567, "1.235 MB"), (4_700_000, "4.7 MB")],
)
def test_sizes_are_written_in_decimal_units(size: int, text: str) -> None:
    assert format_bytes(size) == text


def test_a_budget_is_written_as_it_was_read() -> None:
    assert str(Budget.parse("1.98MB")) == "1.98 MB"


def test_the_size_is_that_of_the_file(measured: Measured) -> None:
    assert size_objective().measure(measured) == measured.path.stat().st_size


@pytest.mark.parametrize("name", ["latency_ms", "a", "F1-macro", "top5"])
def test_names_may_hold_letters_digits_and_dashes(name: str) -> None:
    assert Objective(name, "maximize", lambda _: 0.0).name == name


@pytest.mark.parametrize("name", ["", "5top", "a b", "a.b", "a/b", "größe", "a\n"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ObjectiveError, match="consists of letters, digits"):
        Objective(name, "minimize", lambda _: 0.0)


def test_other_directions_are_refused() -> None:
    with pytest.raises(
        ObjectiveError, match=r"`direction` of objective 'a' must be .* got 'down'"
    ):
        Objective("a", cast(Direction, "down"), lambda _: 0.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "fast", 10**400])
def test_what_is_no_finite_number_is_refused(measured: Measured, value: Any) -> None:
    with pytest.raises(ObjectiveError, match=r"'speed' must be a finite number, .* model\.acz"):
        Objective("speed", "minimize", lambda _: value).measure(measured)


def test_errors_of_the_function_are_not_hidden(measured: Measured) -> None:
    def fail(_: Measured) -> float:
        raise TypeError("mine")

    with pytest.raises(ObjectiveError, match=r"'speed' raised TypeError: mine \(.*\)") as told:
        Objective("speed", "minimize", fail).measure(measured)
    assert isinstance(told.value.__cause__, TypeError)
    assert __file__ in str(told.value)
