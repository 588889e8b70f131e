"""A short run of what `benchmarks/fuzz.py` does at length, and that it would notice faults."""

from __future__ import annotations

import pickle
import re
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from random import Random

import numpy as np
import optuna
import pytest
from fuzzing import course
from fuzzing.apart import told_of
from fuzzing.artifacts import Artifacts
from fuzzing.course import input_of, run
from fuzzing.documents import mutated, written
from fuzzing.subjects import ARTIFACTS, OTHERS, subject_of

from autocompress.errors import ArtifactError, AutocompressError, ModelError
from autocompress.support import progress

SEED = 20_000  # one that the long runs do not have
HOW_MANY = {ARTIFACTS: 1200, "language models in artifacts": 40, "vocabularies": 60}


@pytest.fixture(autouse=True)
def silence(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Say nothing of the thousands of inputs, and speak again afterwards."""
    verbosity = optuna.logging.get_verbosity()
    monkeypatch.setattr(progress.console, "quiet", True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(verbosity)


@pytest.fixture(scope="module")
def process() -> Iterator[Executor]:
    """A process that has run no other tests, which would count with its memory."""
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        yield executor


@pytest.mark.parametrize("name", [ARTIFACTS, *OTHERS])
def test_hostile_input_ends_in_a_documented_error(
    name: str, process: Executor, tmp_path: Path
) -> None:
    numbers = range(HOW_MANY.get(name, 150))
    told = process.submit(told_of, name, tmp_path, SEED, numbers).result()
    assert told.faults == []
    assert sum(told.errors.values()) < told.n_inputs  # some are read after all


@pytest.mark.parametrize("name", [ARTIFACTS, *OTHERS])
def test_an_input_is_made_from_seed_and_number_alone(name: str, tmp_path: Path) -> None:
    subject = subject_of(name, tmp_path)
    assert issubclass(subject.allowed[0], AutocompressError)
    first = pickle.dumps(input_of(subject, SEED, 3))
    again = pickle.dumps(input_of(subject_of(name, tmp_path), SEED, 3))
    assert first == again
    assert first != pickle.dumps(input_of(subject, SEED, 4))


def test_artifacts_to_begin_with_are_read() -> None:
    subject = Artifacts()
    for data in subject.seeds:
        subject.read(data)


class Faulty:
    """Reads numbers, and does what it must not."""

    name, allowed = "faulty", (ArtifactError,)

    def __init__(self, what: Callable[[], object]) -> None:
        self._what = what

    def made(self, random: Random) -> int:
        return random.randrange(3)

    def read(self, data: int) -> None:
        if data == 0:
            raise ArtifactError("damaged; copy it again")
        if data == 1:
            self._what()


def _raise(error: Exception) -> Callable[[], object]:
    def raising() -> None:
        raise error

    return raising


def _busy() -> None:
    end = time.process_time() + 5
    while time.process_time() < end:
        pass


class Silent(ArtifactError):
    def __str__(self) -> str:
        return "one\ntwo"


@pytest.mark.parametrize(
    ("what", "fault"),
    [
        (_raise(KeyError("x")), "KeyError: 'x' in .*test_fuzzing.py"),
        (_raise(ModelError("of another kind")), "ModelError: of another kind"),
        (_raise(MemoryError()), "MemoryError"),
        (_raise(Silent("x")), "Silent of 2 lines"),
        (lambda: warnings.warn("x", stacklevel=1), "UserWarning: x"),
        (lambda: np.float32(1e30) * np.float32(1e30), "RuntimeWarning: overflow"),
        (_busy, "takes more than 0.05 s"),
    ],
)
def test_a_fault_is_noticed(
    what: Callable[[], object], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course, "LONGEST_S", 0.05)
    told = run(Faulty(what), SEED, range(6))
    numbers = [number for number in range(6) if input_of(Faulty(what), SEED, number) == 1]
    assert numbers
    assert [number for number, _ in told.faults] == numbers
    assert all(re.match(fault, found) for _, found in told.faults)
    assert told.errors["ArtifactError"] > 0


def test_a_process_that_grows_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(course, "MOST_MEMORY", 1)
    sizes = iter(range(10**6, 10**9, 10**6))
    monkeypatch.setattr(course, "_memory", lambda: next(sizes))
    told = run(Faulty(lambda: None), SEED, range(3))
    assert all("has grown to" in fault for _, fault in told.faults)
    assert len(told.faults) == 3


def test_documents_are_changed_in_many_ways() -> None:
    document = {"name": "x", "items": [{"size": 3, "share": 0.5}, {"size": 4, "share": 0.25}]}
    found = {written(mutated(Random(number), document)) for number in range(500)}
    assert len(found) > 300
    assert document["items"][0] == {"size": 3, "share": 0.5}
    assert any(len(text) > 10_000 for text in found)
    assert any(b"../" in text for text in found)
