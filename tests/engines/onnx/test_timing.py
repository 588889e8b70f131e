"""Timing: what is compared with what, and that the timed model is the exported one."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import toy_corpus, toy_model

from autocompress.artifact import open_artifact
from autocompress.encoding.encoder import Encoder, uncompressed_plan
from autocompress.engines.onnx.session import StepModel, open_session
from autocompress.engines.onnx.timing import Stepper, measure
from autocompress.knowledge.source import Source
from autocompress.lm import LanguageModeling, load_model, read_corpus
from autocompress.lm.onnx.export import build
from autocompress.outcome.objectives import LatencyBudget


class Clock:
    """A clock that models wind on as they read."""

    def __init__(self) -> None:
        self.now = 0.0
        self.noise = np.random.default_rng(0)

    def reader(self, seconds: float, spread: float) -> "Reader":
        return Reader(self, seconds, spread)


class Reader:
    def __init__(self, clock: Clock, seconds: float, spread: float) -> None:
        self.clock, self.seconds, self.spread, self.words = clock, seconds, spread, list[int]()

    def __call__(self, word: int) -> None:
        self.words.append(word)
        self.clock.now += self.seconds * (1 + self.spread * abs(self.clock.noise.normal()))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    one = Clock()
    monkeypatch.setattr("autocompress.engines.onnx.timing.time.thread_time", lambda: one.now)
    return iter([one])


def test_models_are_compared_within_rounds(clock: Iterator[Clock]) -> None:
    one = next(clock)
    models = {"slow": one.reader(4e-3, 0.05), "fast": one.reader(1e-3, 0.05)}
    found = measure(models, 100, "slow")
    assert found["slow"].ratio == 1
    assert found["fast"].ratio == pytest.approx(0.25, rel=0.01)
    assert found["fast"].p50_ms == pytest.approx(1.04, rel=0.02)
    assert found["fast"].p95_ms >= found["fast"].p50_ms
    assert models["slow"].words == models["fast"].words


def test_more_noise_takes_more_rounds_up_to_a_limit(clock: Iterator[Clock]) -> None:
    one = next(clock)
    rounds = [
        measure({"a": one.reader(1e-3, 0), "b": one.reader(1e-3, spread)}, 100, "a")["b"]
        for spread in (0.0, 0.5, 100.0)
    ]
    assert rounds[0].rounds == 15
    assert rounds[0].noise == 0
    assert rounds[0].rounds < rounds[1].rounds <= rounds[2].rounds == 200
    assert rounds[2].noise < 0.05


def test_what_is_timed_is_what_is_scored(tmp_path: Path) -> None:
    corpus = toy_corpus(tmp_path / "toy")
    model, vocabulary = load_model(toy_model(tmp_path / "model", corpus))
    source = Source.of(model, LanguageModeling(read_corpus(corpus, vocabulary)))
    Encoder(source).write(uncompressed_plan(source), tmp_path / "model.acz")
    session = open_session(build(open_artifact(tmp_path / "model.acz")).SerializeToString())
    words = [3, 1, 4, 1, 5]
    stepper = Stepper(session)
    for word in words:
        stepper(word)
    expected = StepModel(session)(torch.tensor(words)[:, None])[0][-1, 0].numpy()
    assert np.array_equal(stepper.scores["logits"][0, 0], expected)


@pytest.mark.parametrize(("text", "ratio"), [("0.25x", 0.25), (" .3 x ", 0.3), ("0.1ms", 0.5)])
def test_budgets_are_shares_or_times(text: str, ratio: float) -> None:
    assert LatencyBudget.parse(text).ratio(0.2) == pytest.approx(ratio)
