"""Searches that break off at any moment, and end as one that was never interrupted."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from platforms import needs_posix
from toys import Classification, teacher

import autocompress
from autocompress.errors import SearchError
from autocompress.searching.folder import SearchFolder
from autocompress.searching.ledger import LEDGER, Ledger
from autocompress.support.files import write_whole
from autocompress.tracking import store

# Raised while MLflow's database models are imported, with SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

TRIALS = 8
_TORN = 9


def search(out: Path) -> None:
    autocompress.search(teacher(), Classification(), budget=12_000, trials=TRIALS, out=out)


def outcome(out: Path) -> tuple[list[str], list[bytes], str]:
    """Plans, bytes, and the best: numbers of trials may differ by those that were abandoned."""
    trials = SearchFolder(out).trials()
    plans = [json.dumps(trial.plan.to_json(), sort_keys=True) for trial in trials]
    files = [path.read_bytes() for path in sorted(out.glob("trials/[0-9]*/model.acz"))]
    best = json.loads((out / "result.json").read_text(encoding="utf-8"))["best"]
    return plans, files, f"{best['size_bytes']} {best['valid_accuracy']} {best['test_accuracy']}"


def check_runs(out: Path) -> None:
    """Each trial that has a file must have one finished run, and no run may still be going on."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{out / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("autocompress")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in found} <= {"FINISHED", "FAILED", "KILLED"}
    whole = [run for run in found if run.info.status != "KILLED"]
    logged = Counter(run.data.tags.get("autocompress.trial", run.info.run_name) for run in whole)
    trials = SearchFolder(out).trials()
    given_up = Ledger(out / LEDGER).given_up()
    numbers = {trial.number for trial in trials} | given_up.keys()
    assert logged == Counter(["Classifier", "uncompressed", *map(str, numbers)])
    failed = {run.data.tags["autocompress.trial"] for run in whole if run.info.status == "FAILED"}
    assert failed == {str(number) for number in given_up}


def check_whole(out: Path, whole: Path) -> None:
    assert outcome(out) == outcome(whole)
    check_runs(out)
    assert not list(out.rglob("*.tmp*"))
    assert not list(out.rglob("*.damaged"))


class Disk:
    """Flushes so often, and is full from then on; what was written last is torn off."""

    def __init__(self, room: int) -> None:
        self.flushed, self._room = 0, room
        self._flush = os.fsync

    def fsync(self, descriptor: int) -> None:
        self.flushed += 1
        if self.flushed < self._room:
            return
        found = os.fstat(descriptor)
        if self.flushed == self._room and stat.S_ISREG(found.st_mode) and found.st_size > _TORN:
            os.ftruncate(descriptor, found.st_size - _TORN)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def copied_databases(empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Building one takes seconds, and is tested with MLflow."""
    content = empty_database.read_bytes()
    monkeypatch.setattr(store, "_build", lambda path, place: write_whole(path, content))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> tuple[Path, int]:
    """A search that was not interrupted, and how often it flushed to the disk."""
    out, disk = tmp_path_factory.mktemp("whole") / "search", Disk(sys.maxsize)
    out.mkdir()
    shutil.copy(empty_database, out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", disk.fsync)
        search(out)
    return out, disk.flushed


@pytest.mark.usefixtures("copied_databases")
@pytest.mark.parametrize(
    "seed",
    [
        0,
        *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5)),
        *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in range(5, 40)),
    ],
)
def test_a_disk_may_be_full_at_any_moment(
    seed: int, whole: tuple[Path, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, flushes = whole
    out, room = tmp_path / "search", random.Random(seed).randint(1, flushes)
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", Disk(room).fsync)
        with pytest.raises(SearchError, match="No space left on device") as error:
            search(out)
    assert "\n" not in str(error.value)
    search(out)
    check_whole(out, folder)


SEARCH = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from autocompress.support.signals import stops_as_interrupts
from test_breaking_off import search

with stops_as_interrupts():
    search(Path(sys.argv[3]))
"""


def begin(out: Path) -> subprocess.Popen[str]:
    places = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    words = [sys.executable, "-c", SEARCH, *places, str(out)]
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def seconds(tmp_path_factory: pytest.TempPathFactory) -> float:
    """How long a search takes from the moment in which it has its folder."""
    out = tmp_path_factory.mktemp("timed") / "search"
    process = begin(out)
    wait_for(out, process)
    start = time.monotonic()
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return time.monotonic() - start


def wait_for(out: Path, process: subprocess.Popen[str]) -> None:
    while not out.exists() and process.poll() is None:
        time.sleep(0.01)


def reported(out: Path) -> dict[str, str]:
    """What the folder says of finished trials, which no crash may change or lose."""
    there = {path.parent.name: path.read_text() for path in out.glob("trials/[0-9]*/trial.json")}
    for number, why in Ledger(out / LEDGER).given_up().items():
        there.setdefault(f"{number:04d}", str(why))
    return there


@pytest.mark.slow
@needs_posix
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in range(1, 17))]
)
def test_a_search_may_be_killed_at_any_moment(
    seed: int, seconds: float, whole: tuple[Path, int], tmp_path: Path
) -> None:
    """Three times each, so that all seeds make for 51 moments; mostly as `kill -9` does."""
    chance, out = random.Random(seed), tmp_path / "search"
    finished: dict[str, str] = {}
    for _ in range(3):
        process = begin(out)
        wait_for(out, process)
        try:
            process.wait(chance.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            how = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
            process.send_signal(how)
        process.communicate()
        assert finished.items() <= reported(out).items()
        finished = reported(out)
    process = begin(out)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert finished.items() <= reported(out).items()
    check_whole(out, whole[0])


@contextmanager
def disk(place: Path, kilobytes: int) -> Iterator[Callable[[int], None]]:
    """A disk of its own in memory, and what makes it larger."""
    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
    mounted = subprocess.run(["mount", *options], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a disk in memory takes the rights of an administrator")

    def resize(kilobytes: int) -> None:
        options = ["-o", f"remount,size={kilobytes}k", str(place)]
        subprocess.run(["mount", *options], check=True)

    try:
        yield resize
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mount") is None, reason="disks in memory are mounted by `mount`")
@pytest.mark.usefixtures("copied_databases")
@pytest.mark.parametrize(
    "kilobytes",
    [
        kilobytes
        if kilobytes in (4, 1024)
        else pytest.param(kilobytes, marks=pytest.mark.exhaustive)
        for kilobytes in (4, *range(256, 3841, 256))
    ],
)
def test_a_small_disk_fills_up(kilobytes: int, whole: tuple[Path, int], tmp_path: Path) -> None:
    """One line tells it, and with room made the same search ends as if there had been enough."""
    with disk(tmp_path / "disk", kilobytes) as resize:
        out = tmp_path / "disk" / "search"
        with suppress(SearchError):
            search(out)
        if kilobytes < 1024:
            with pytest.raises(SearchError, match=r"full|No space left") as error:
                search(out)
            assert "\n" not in str(error.value)
        resize(64 * 1024)
        search(out)
        check_whole(out, whole[0])
