import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from platforms import needs_posix
from pydantic import BaseModel, ValidationError

from autocompress.artifact import open_artifact
from autocompress.artifact.records import Needy
from autocompress.plan import CompressionPlan
from autocompress.searching.space.language import load_space
from autocompress.support.files import kept_json, write_json
from autocompress.support.signals import Stopped, interrupts_held, stops_as_interrupts

pytestmark = needs_posix


@pytest.fixture(autouse=True)
def listening() -> Iterator[None]:
    """Undo what a shell does to its background jobs, which may be what runs the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    done = []

    def work() -> None:
        with interrupts_held():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("written")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["written"]


def test_without_an_interrupt_nothing_happens() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interrupts_held():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_in_the_block_comes_first() -> None:
    def work() -> None:
        with interrupts_held():
            os.kill(os.getpid(), signal.SIGINT)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        work()


def test_other_threads_may_use_it() -> None:
    entered = []

    def work() -> None:
        with interrupts_held():
            entered.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [True]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_other_stops_are_interrupts(name: str) -> None:
    number, done = signal.Signals[name], []

    def work() -> None:
        with stops_as_interrupts(), interrupts_held():
            os.kill(os.getpid(), number)
            done.append("written")

    with pytest.raises(Stopped) as stopped:
        work()
    assert done == ["written"]
    assert stopped.value.number == number
    assert signal.getsignal(number) is signal.SIG_DFL


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stops_as_interrupts():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


GOLDEN = Path(__file__).parents[1] / "golden"
READERS: dict[str, Callable[[Path], object]] = {
    "file": lambda _: open_artifact(GOLDEN / "version2.acz"),
    "file of version 1": lambda _: open_artifact(GOLDEN / "version1.acz"),
    "plan": lambda _: CompressionPlan.from_json({"treatments": {}}),
    "search space": lambda _: load_space("size"),
    "kept": lambda path: kept_json(
        write_json(path / "a.json", {"needs": {}}), Needy.model_validate
    ),
}


@pytest.mark.parametrize("reader", READERS)
def test_an_interrupt_is_never_told_as_a_finding(
    reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("model_validate", "model_validate_json"):
        own = getattr(BaseModel, name).__func__

        def interrupted(cls: Any, /, *given: Any, own: Any = own, **named: Any) -> Any:
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:  # as pydantic has been seen to tell it
                raise ValidationError.from_exception_data("header", []) from None
            return own(cls, *given, **named)

        monkeypatch.setattr(BaseModel, name, classmethod(interrupted))
    with pytest.raises(KeyboardInterrupt):
        READERS[reader](tmp_path)
