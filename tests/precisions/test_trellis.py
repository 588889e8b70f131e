"""Trellis-coded quantization."""

import math
from dataclasses import replace

import numpy as np
import pytest
from strategies import gaussian

from autocompress.artifact.streams import encode_stream
from autocompress.precisions import EqualSlope, Precision, Trellis
from autocompress.precisions.paths import Lanes, cheapest
from autocompress.structures import Curvature, Factor
from autocompress.support import trellis

FINER = 2 / 3


def known(shape: tuple[int, int] = (400, 70), *, widths: tuple[int, ...] = ()) -> Factor:
    """Return rows and columns of different scale, and what their errors cost."""
    generator = np.random.default_rng(4)
    rows, scales = np.exp(generator.normal(size=shape[0])), np.exp(generator.normal(size=shape[1]))
    inputs = generator.normal(size=(4 * shape[1], shape[1]))
    inputs += inputs[:, :1]
    moment = inputs.T @ inputs / len(inputs)
    values = (generator.laplace(size=shape) * scales).astype(np.float32)
    if widths:
        ends = np.cumsum(widths)
        blocks = [moment[a:b, a:b].ravel() for a, b in zip(ends - widths, ends, strict=True)]
        return Factor(values, curvature=Curvature(rows, np.concatenate(blocks), widths))
    return Factor(values, curvature=Curvature(rows, moment))


def outcome(precision: Precision, factor: Factor) -> tuple[int, float]:
    """Return the bytes that a factor takes, and what its errors cost."""
    streams = precision.encode(factor)
    size = sum(len(encode_stream(name, stream)[1]) for name, stream in streams.items())
    decoded = precision.decode(streams, factor.values.shape, None)
    assert factor.curvature is not None
    return size, factor.curvature.rise(decoded - factor.values)


@pytest.mark.parametrize("widths", [(), (30, 40)], ids=["whole", "blocks"])
@pytest.mark.parametrize("slope", [0.1, 2.0])
def test_at_equal_error_it_takes_fewer_bytes(slope: float, widths: tuple[int, ...]) -> None:
    factor = known((800, 70), widths=widths)
    size, error = outcome(Trellis(slope=slope), factor)
    others = [outcome(EqualSlope(slope=slope * times), factor) for times in (0.5, 1, 2)]
    errors, sizes = np.log([one[1] for one in others]), [one[0] for one in others]
    assert errors[0] < math.log(error) < errors[2]
    assert size < 0.98 * np.interp(math.log(error), errors, sizes)


@pytest.mark.parametrize("rows", [32, 1030])
def test_every_row_is_a_path(rows: int) -> None:
    codes = Trellis(slope=0.3).encode(known((rows, 150)))["codes"]
    assert encode_stream("codes", codes)[0].coder == "trellis"


def test_zeros_stay_zeros() -> None:
    factor = known()
    factor.values[:, ::3] = 0
    factor.values[::2, 1::3] = 0
    values = Trellis(slope=0.3).quantize(factor)
    assert not values[factor.values == 0].any()
    assert values.any()


def test_no_level_is_far_off() -> None:
    factor = replace(known(), curvature=None)
    precision = Trellis(slope=1e-6)
    steps = EqualSlope(slope=1e-6).steps(factor)
    error = np.abs(precision.quantize(factor) - factor.values) / steps
    assert error.max() < 4 * FINER
    assert error.mean() < 0.5


@pytest.mark.parametrize(
    "factor", [replace(known(), nearest=True), known((31, 70))], ids=["nearest", "few rows"]
)
def test_what_it_does_not_suit_is_stored_by_equal_slope(factor: Factor) -> None:
    expected = EqualSlope(slope=0.3).encode(factor)
    for name, stream in Trellis(slope=0.3).encode(factor).items():
        np.testing.assert_array_equal(stream, expected[name])


def test_the_same_codes_come_out_of_the_same_values() -> None:
    factor, precision = known((300, 80)), Trellis(slope=0.3)
    first, second = (precision.encode(factor)["codes"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_recovery_trains_by_equal_slope() -> None:
    assert Trellis(slope=2e-9).trained == EqualSlope(slope=2e-9)
    assert EqualSlope(slope=2e-9).trained == EqualSlope(slope=2e-9)


def test_the_path_is_the_cheapest_of_all() -> None:
    """Of few columns, all paths can be gone through."""
    n_cols, fall, worth = 4, 0.7, 3.0
    values = gaussian((n_cols, 12)) * 3
    ones = np.ones_like(values, np.float64)
    lanes = Lanes(values.astype(np.float64), ones, fall * ones, worth, None)
    found, _ = cheapest(lanes, trellis.begun(12))
    costs = {level: bits_of(level, fall) for level in range(-14, 15)}
    for row in range(12):
        best = cheapest_of_all(values[:, row], 0, costs, worth)
        levels = found[:, row].tolist()
        cost, state = 0.0, 0
        for value, level in zip(values[:, row], levels, strict=True):
            odd = state >= trellis.STATES // 2
            cost += worth * (value - level) ** 2 + costs[level][odd]
            state = int(trellis.NEXT[state, (abs(level) + odd) // 2 % 2])
        assert cost == pytest.approx(best)


def bits_of(level: int, fall: float) -> tuple[float, float]:
    """Return the bits of a level among even ones, and among odd ones and zero."""

    def share(low: float, high: float) -> float:
        return math.exp(-fall * low) - math.exp(-fall * high)

    size = abs(level)
    if size == 0:
        return -math.log2(share(0, 1)), -math.log2(share(0, 0.5))
    among_even = 1 - math.log2(share(size - 1, size + 1))
    low = 0.5 if size == 1 else size - 1
    return among_even, 1 - math.log2(share(low, size + 1))


def cheapest_of_all(
    values: np.ndarray, state: int, costs: dict[int, tuple[float, float]], worth: float
) -> float:
    """Return the cost of the cheapest path from a state on."""
    if not len(values):
        return 0.0
    odd, best = state >= trellis.STATES // 2, math.inf
    for level, bits in costs.items():
        if level % 2 == odd or level == 0:
            after = int(trellis.NEXT[state, (abs(level) + odd) // 2 % 2])
            if worth * (values[0] - level) ** 2 < best:
                rest = cheapest_of_all(values[1:], after, costs, worth)
                best = min(best, worth * (values[0] - level) ** 2 + bits[odd] + rest)
    return best
