"""What better and worse mean: all arithmetic of directions."""

import math

import pytest

from autocompress.outcome.metric import (
    Direction,
    change_of,
    cost,
    distance,
    worse_by,
    worsening_of,
)

DIRECTIONS: tuple[Direction, ...] = ("minimize", "maximize")


@pytest.mark.parametrize(
    ("baseline", "direction", "value", "expected"),
    [
        (100.0, "minimize", 110.0, 0.1),
        (100.0, "minimize", 90.0, -0.1),
        (0.8, "maximize", 0.6, 0.25),
        (0.8, "maximize", 1.0, -0.25),
        (-2.0, "maximize", -2.2, 0.1),
        (-2.0, "minimize", -2.2, -0.1),
        (0.0, "minimize", 0.1, math.inf),
        (0.0, "maximize", 0.1, -math.inf),
        (0.0, "maximize", 0.0, 0.0),
    ],
)
def test_worsening_is_a_share_of_the_baseline(
    baseline: float, direction: Direction, value: float, expected: float
) -> None:
    assert worsening_of(value, baseline, direction) == pytest.approx(expected)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("baseline", [3.0, -3.0])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5])
def test_what_is_worse_by_a_share_worsens_by_it(
    direction: Direction, baseline: float, share: float
) -> None:
    value = worse_by(baseline, share, direction)
    assert worsening_of(value, baseline, direction) == pytest.approx(share)
    assert cost(value, direction) >= cost(baseline, direction)


def test_no_difference_has_no_sign() -> None:
    assert all(math.copysign(1, distance(2.0, 2.0, direction)) == 1 for direction in DIRECTIONS)


def test_less_cost_is_better() -> None:
    assert cost(1.0, "minimize") < cost(2.0, "minimize")
    assert cost(2.0, "maximize") < cost(1.0, "maximize")


def test_a_change_goes_either_way() -> None:
    assert change_of(90.0, 100.0) == pytest.approx(-0.1)
    assert change_of(-1.5, -2.0) == pytest.approx(0.25)
    assert change_of(0.0, 0.0) == 0
    assert change_of(-0.5, 0.0) == -math.inf
