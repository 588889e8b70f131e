"""Timing: what is compared with what, and for how long."""

from collections.abc import Iterator

import numpy as np
import pytest

from autocompress.engines.onnx.timing import measure
from autocompress.outcome.limits import parse_latency, resolved

INPUTS = range(40)


class Clock:
    """A clock that models wind on as they read."""

    def __init__(self) -> None:
        self.now = 0.0
        self.noise = np.random.default_rng(0)

    def reader(self, seconds: float, spread: float) -> "Reader":
        return Reader(self, seconds, spread)


class Reader:
    def __init__(self, clock: Clock, seconds: float, spread: float) -> None:
        self.clock, self.seconds, self.spread, self.inputs = clock, seconds, spread, list[int]()

    def __call__(self, one: int) -> None:
        self.inputs.append(one)
        self.clock.now += self.seconds * (1 + self.spread * abs(self.clock.noise.normal()))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    one = Clock()
    monkeypatch.setattr("autocompress.engines.onnx.timing.time.thread_time", lambda: one.now)
    return iter([one])


def test_models_are_compared_within_rounds(clock: Iterator[Clock]) -> None:
    one = next(clock)
    models = {"slow": one.reader(4e-3, 0.05), "fast": one.reader(1e-3, 0.05)}
    found = measure(models, INPUTS, "slow")
    assert found["slow"].ratio == 1
    assert found["fast"].ratio == pytest.approx(0.25, rel=0.01)
    assert found["fast"].p50_ms == pytest.approx(1.04, rel=0.02)
    assert found["fast"].p95_ms >= found["fast"].p50_ms
    assert models["slow"].inputs == models["fast"].inputs
    assert models["fast"].inputs == [*range(20), *list(INPUTS) * found["fast"].rounds]


def test_more_noise_takes_more_rounds_up_to_a_limit(clock: Iterator[Clock]) -> None:
    one = next(clock)
    rounds = [
        measure({"a": one.reader(1e-3, 0), "b": one.reader(1e-3, spread)}, INPUTS, "a")["b"]
        for spread in (0.0, 0.5, 100.0)
    ]
    assert rounds[0].rounds == 15
    assert rounds[0].noise == 0
    assert rounds[0].rounds < rounds[1].rounds <= rounds[2].rounds == 200
    assert rounds[2].noise < 0.05


@pytest.mark.parametrize(("text", "ratio"), [("0.25x", 0.25), (" .3 x ", 0.3), ("0.1ms", 0.5)])
def test_budgets_are_shares_or_times(text: str, ratio: float) -> None:
    limits = resolved({"latency": parse_latency(text)}, {"latency": 1.01, "latency_ms": 0.2})
    assert limits["latency"].bound == pytest.approx(ratio)
    assert limits["latency"].unit == "x"
