"""Progress: what is left is told of slow steps too, and nothing is cut."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from autocompress.support import progress
from autocompress.support.progress import Clock


class Time:
    """A clock that is set by hand."""

    now = 1000.0

    def perf_counter(self) -> float:
        return self.now

    monotonic = perf_counter


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(progress, "time", time)
    return time


def test_steps_of_a_minute_are_reckoned_from_the_first_one_on(time: Time) -> None:
    assert Clock(5).left is None
    clock = Clock(5)
    time.now += 60
    clock.advance(1)
    assert clock.left == 240
    time.now += 45  # the second step is under way
    assert clock.left == 195
    assert clock.text == "3:15 left"
    time.now += 500
    assert clock.left == 0


def test_what_was_done_before_took_no_time(time: Time) -> None:
    clock = Clock(30, done=20)
    time.now += 10
    clock.advance(1)
    assert clock.left == 90


@pytest.mark.parametrize("total", [None, 100])
def test_a_deadline_is_the_end_at_the_latest(total: int | None, time: Time) -> None:
    clock = Clock(total, deadline=time.now + 3725)
    assert clock.text == "1:02:05 left"
    time.now += 100
    clock.advance(1)
    assert clock.left == 3625


def test_nothing_is_left_at_the_end_or_unknown(time: Time) -> None:
    clock = Clock(1)
    assert clock.text == ""
    time.now += 5
    clock.advance(1)
    assert clock.text == ""
    assert Clock(None, deadline=math.inf).text == ""


@pytest.mark.parametrize("is_terminal", [True, False])
def test_bars_and_lines_tell_count_time_and_note(
    is_terminal: bool, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = io.StringIO()
    console = Console(
        file=text, force_terminal=is_terminal, width=60, highlight=False, soft_wrap=True
    )
    monkeypatch.setattr(progress, "console", console)
    with progress.bar("trials", 4, done=1) as bar:
        time.now += 30
        bar.advance(note="best 1.149 MB, perplexity 117.9; last 1.2 MB, perplexity 118.3")
    progress.say("a line with [brackets] of which the last word is a path: /a/" + "long" * 20)
    assert "/a/" + "long" * 20 in text.getvalue()
    assert "[brackets]" in text.getvalue()
    for part in ("trials", "2/4", "1:00 left", "117.9;", "118.3"):
        assert part in text.getvalue()
