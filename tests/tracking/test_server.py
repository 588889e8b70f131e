"""A server of the user's own: addressed, away, back, and what a search leaves on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest
from platforms import needs_posix
from strategies import write_mixed
from toys import Classification, teacher

import autocompress
from autocompress.errors import SearchError
from autocompress.outcome.results import TrialResult, WithoutFile
from autocompress.plan import CompressionPlan
from autocompress.searching.folder import SearchFolder
from autocompress.searching.record import given_up_of
from autocompress.tracking import Kept, PatientTracker, Tracker, patient
from autocompress.tracking.homes import UsersServer, chosen_uri, shown
from autocompress.tracking.server import free_port

# Raised while MLflow's database models are imported, with SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

HOST, PLAN = "127.0.0.1", CompressionPlan(treatments={})


@pytest.mark.parametrize(
    ("given", "environment", "chosen"),
    [
        (None, None, None),
        (None, "", None),
        ("", "http://there", None),
        (None, " http://there/ ", "http://there"),
        (
            "https://user:secret@here:80/mlflow",
            "http://there",
            "https://user:secret@here:80/mlflow",
        ),
        ("sqlite:////tmp/mlflow.db", None, "sqlite:////tmp/mlflow.db"),
        ("databricks", None, "databricks"),
    ],
)
def test_an_argument_goes_before_the_environment(
    given: str | None,
    environment: str | None,
    chosen: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if environment is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", environment)
    assert chosen_uri(given) == chosen


@pytest.mark.parametrize("uri", ["localhost:5000", "http://", "https:///mlflow", "somewhere"])
def test_what_is_no_address_is_refused(uri: str) -> None:
    with pytest.raises(SearchError, match="must be the address of an MLflow server"):
        chosen_uri(uri)


def test_no_password_is_shown() -> None:
    assert shown("http://me:secret@there:80/p") == "http://there:80/p"
    assert shown("http://there") == "http://there"
    assert shown("sqlite:///a/mlflow.db") == "sqlite:///a/mlflow.db"
    home = UsersServer("http://me:secret@127.0.0.1:9", "key")
    with pytest.raises(SearchError) as error, home.errors("open its database"):
        home.open()
    assert str(error.value) == (
        "MLflow could not open its database: 'http://127.0.0.1:9' does not answer"
    )


def database(folder: Path) -> str:
    return f"sqlite:///{folder / 'mlflow.db'}"


def trial(number: int) -> TrialResult:
    return TrialResult(number, PLAN, {"size_bytes": 9.0, "ppl": 3.0}, True, 1.76e9, 2.5, 4.0)


class Away:
    """A server that can be told to be away."""

    def __init__(self, uri: str) -> None:
        self.uri, self.is_away = uri, False

    def begin(self) -> Tracker:
        self.check()
        tracker = Tracker(UsersServer(self.uri, "key"), "small", {})
        create = tracker._runs.client.create_run
        log = tracker._runs.client.log_artifact

        def create_run(*arguments: Any) -> Any:
            self.check()
            return create(*arguments)

        def log_artifact(*arguments: Any) -> None:
            self.check()
            log(*arguments)

        vars(tracker._runs.client).update(create_run=create_run, log_artifact=log_artifact)
        return tracker

    def check(self) -> None:
        if self.is_away:
            raise SearchError("it does not answer")


def statuses(uri: str) -> Counter[tuple[str, str]]:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("autocompress")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    return Counter((run.info.run_name, run.info.status) for run in found)


def test_trials_wait_for_a_server_that_is_away(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient, "_SHORTEST_S", 0.0)
    monkeypatch.chdir(tmp_path)  # where such a store has its files
    artifact, kept = write_mixed(tmp_path / "model.acz"), list[TrialResult]()
    given_up = {7: WithoutFile("far too large")}
    server = Away(database(out))
    tracker = PatientTracker(
        server.begin, lambda: Kept(kept, lambda _: artifact, given_up), server.uri
    )

    def make(number: int) -> None:
        kept.append(trial(number))
        tracker.log_trial(kept[-1], artifact)

    tracker.reconcile(kept, lambda _: artifact, given_up)
    make(0)
    server.is_away = True
    make(1)
    make(2)
    assert statuses(server.uri)["trial-0000", "FINISHED"] == 1
    assert not statuses(server.uri)["trial-0001", "FINISHED"]
    server.is_away = False
    make(3)
    make(4)
    tracker.end("KILLED")
    names = [*(f"trial-000{number}" for number in range(5)), "small"]
    assert statuses(server.uri) == Counter(
        [(name, "KILLED" if name == "small" else "FINISHED") for name in names]
        + [("trial-0007", "FAILED")]
    )


@contextmanager
def serving(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """An MLflow server of somebody's own, with its files behind it."""
    options = {
        "--backend-store-uri": database(folder),
        "--artifacts-destination": (folder / "files").as_uri(),
        "--host": HOST,
        "--port": str(port),
        "--workers": "1",
    }
    words = [word for option in options.items() for word in option]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *words],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while not answers(port):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.2)
        yield process
    finally:
        kill(process)


def kill(server: subprocess.Popen[bytes]) -> None:
    """End it at once, with its workers."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def answers(port: int) -> bool:
    with closing(HTTPConnection(HOST, port, timeout=5)) as connection:
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False


SEARCH = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import autocompress
from toys import Classification, teacher

place = Path(sys.argv[2])

class Waiting(Classification):
    def evaluate(self, model, split):
        done = len(list(place.glob("trials/[0-9]*/trial.json")))
        (place.parent / f"reached-{done}").touch()
        while not (place.parent / f"allowed-{done}").exists():
            time.sleep(0.02)
        return super().evaluate(model, split)

autocompress.search(
    teacher(), Waiting(), budget=12_000, trials=6, out=place, tracking_uri=sys.argv[3] or None
)
"""


def begin(out: Path, uri: str, **environment: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", SEARCH, str(Path(__file__).parents[1]), str(out), uri]
    return subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )


def allow(out: Path, *counts: int) -> None:
    for done in counts:
        (out.parent / f"allowed-{done}").touch()


def wait_for(out: Path, done: int, process: subprocess.Popen[str]) -> None:
    while not (out.parent / f"reached-{done}").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def check_all_there(out: Path, uri: str) -> None:
    found = statuses(uri)
    folder = SearchFolder(out)
    names = Counter([("Classifier", "FINISHED"), ("uncompressed", "FINISHED")])
    for one in folder.trials():
        names[f"trial-{one.number:04d}", "FAILED" if one.rejected else "FINISHED"] += 1
    for number in given_up_of(folder):
        names[f"trial-{number:04d}", "FAILED"] += 1
    assert Counter({key: n for key, n in found.items() if key[1] != "KILLED"}) == names
    assert len(names) >= 8


@pytest.mark.slow
@needs_posix
def test_a_server_may_be_killed_and_come_back(tmp_path: Path) -> None:
    """Once it comes back while the search goes on, once it does not, and a rerun reconciles."""
    out, port = tmp_path / "search", free_port(5600)
    uri = f"http://{HOST}:{port}"
    with serving(tmp_path, port) as server:
        process = begin(out, "", MLFLOW_TRACKING_URI=uri)
        allow(out, 0, 1)
        wait_for(out, 2, process)
        kill(server)
    allow(out, 2, 3)
    wait_for(out, 4, process)
    with serving(tmp_path, port) as server:
        time.sleep(6)  # until it is looked for again
        allow(out, 4)
        wait_for(out, 5, process)
        assert statuses(uri)["trial-0004", "FINISHED"] == 1
        kill(server)
    start = time.monotonic()
    allow(out, 5, 6)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert time.monotonic() - start < 60
    assert f"'{uri}' does not answer; trials are kept in the folder" in errors
    assert f"MLflow at '{uri}' answers again" in errors
    assert f"MLflow at '{uri}' lacks a part of this search" in errors
    assert not (out / "mlflow.db").exists()
    with serving(tmp_path, port):
        again = begin(out, uri)
        _, errors = again.communicate()
        assert again.returncode == 0, errors
        check_all_there(out, uri)
        assert ("Classifier", "RUNNING") not in statuses(uri)
        (files,) = (tmp_path / "files").glob("*/*/artifacts/front.html")
        assert files.read_bytes() == (out / "front.html").read_bytes()
        page = subprocess.run(
            [sys.executable, "-m", "autocompress", "ui", str(out)],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        key = SearchFolder(out).path.joinpath("tracking.json").read_text().split('"')[3]
        assert page.startswith(f"{uri}/#/experiments/")
        assert page.endswith(f"viewStateShareKey=autocompress-{key[:8]}\n")


def test_a_search_is_not_begun_on_a_server_that_is_not_there(tmp_path: Path) -> None:
    out, uri = tmp_path / "search", f"http://{HOST}:{free_port(5700)}"
    start = time.monotonic()
    with pytest.raises(SearchError, match=f"could not reach '{uri}': '{uri}' does not answer"):
        autocompress.search(teacher(), Classification(), trials=1, out=out, tracking_uri=uri)
    assert time.monotonic() - start < 30
    assert {path.name for path in out.iterdir()} == {"lock"}
