"""MLflow's database: whole or not at all, made anew where it is not, wherever its folder lies."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from platforms import needs_posix
from strategies import write_mixed

from autocompress.errors import SearchError
from autocompress.outcome.results import TrialResult
from autocompress.plan import CompressionPlan
from autocompress.tracking import Tracker, store

# Raised while MLflow's database models are imported, with SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

PLAN = CompressionPlan(treatments={})
TRIAL = TrialResult(0, PLAN, {"size_bytes": 9.0, "ppl": 3.0}, True, 1.76e9, 2.5, 4.0)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return write_mixed(tmp_path / "model.acz")


@pytest.fixture(autouse=True)
def databases_are_copied(empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Building one takes seconds."""

    def build(path: Path, place: Path) -> None:
        assert place.is_dir()
        shutil.copy(empty_database, path)

    monkeypatch.setattr(store, "_build", build)


def runs(out: Path) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(out / "mlflow.db")) as database:
        query = "SELECT name, status, artifact_uri FROM runs ORDER BY name"
        return database.execute(query).fetchall()


def follow(out: Path, artifact: Path, results: tuple[TrialResult, ...] = (TRIAL,)) -> Tracker:
    tracker = Tracker(out, "small", {})
    tracker.reconcile(results, lambda number: artifact)
    return tracker


def half_built(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE _alembic_tmp_endpoints (id INTEGER)")


def without_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DROP TABLE metrics")
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")


def of_another_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'from_the_future'")


def truncated(path: Path) -> None:
    os.truncate(path, 3 * path.stat().st_size // 4)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: Mapping[str, Callable[[Path], object]] = {
    "deleted": Path.unlink,
    "empty": lambda path: os.truncate(path, 0),
    "garbage": lambda path: path.write_bytes(b"no database" * 1000),
    "truncated": truncated,
    "half built": half_built,
    "without tables": without_tables,
    "of another version": of_another_version,
    "a folder": a_folder,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_record_is_made_anew(damage: str, out: Path, artifact: Path) -> None:
    results = (TRIAL, replace(TRIAL, number=1))
    follow(out, artifact, results).end("FINISHED")
    before = [run[:2] for run in runs(out)]
    assert before == [("small", "FINISHED"), *((f"trial-000{n}", "FINISHED") for n in (0, 1))]
    DAMAGES[damage](out / "mlflow.db")
    follow(out, artifact, results).end("FINISHED")
    assert [run[:2] for run in runs(out)] == before
    kept = (out / "mlflow.db.damaged").exists()
    assert kept == (damage not in ("deleted", "empty"))


@pytest.mark.parametrize("name", ["model.acz", "plan.json", "*"])
def test_files_of_runs_are_copied_again(name: str, out: Path, artifact: Path) -> None:
    follow(out, artifact)
    (folder,) = out.glob("mlartifacts/*/artifacts")
    there = {path.name: path.read_bytes() for path in folder.iterdir()}
    for path in folder.glob(name):
        path.unlink()
    follow(out, artifact)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == there
    assert len(runs(out)) == 2


NAMES: tuple[str, ...] = (
    "with space",
    "per%cent",
    "per%20cent",
    "quest?ion",
    "ha#sh",
    "ümläut-名",
    "a'b\"c",
)
NAMES += ("new\nline", "back\\slash", "semi;colon&amp", "co:lon", "-dash", "x" * 200)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_may_have_any_name(
    name: str, empty_database: Path, artifact: Path, tmp_path: Path
) -> None:
    out = tmp_path / "in" / name
    out.mkdir(parents=True)
    shutil.copy(empty_database, out)
    follow(out, artifact).end("FINISHED")
    follow(out, artifact).end("FINISHED")  # continues
    assert [run[0] for run in runs(out)] == ["small", "trial-0000"]
    assert {path.name for path in out.iterdir()} == {"mlflow.db", "mlartifacts"}
    assert [path.name for path in (tmp_path / "in").iterdir()] == [name]
    assert len(list(out.glob("mlartifacts/*/artifacts/model.acz"))) == 1


@pytest.mark.parametrize("how", [shutil.move, shutil.copytree])
def test_a_folder_may_be_moved_and_copied(
    how: Callable[[Path, Path], object], out: Path, artifact: Path, tmp_path: Path
) -> None:
    follow(out, artifact).end("FINISHED")
    there = tmp_path / "else where"
    how(out, there)
    shutil.rmtree(out, ignore_errors=True)
    store.relocate(there)
    assert all(uri.startswith(f"{(there / 'mlartifacts').as_uri()}/") for _, _, uri in runs(there))
    follow(there, artifact, (TRIAL, replace(TRIAL, number=1))).end("FINISHED")
    assert len(list(there.glob("mlartifacts/*/artifacts/model.acz"))) == 2
    assert not out.exists()


def test_a_folder_may_be_begun_anew_in_one_process(
    empty_database: Path, artifact: Path, out: Path
) -> None:
    for _ in range(3):
        tracker = follow(out, artifact)
        tracker.end("FINISHED")
        assert [run[0] for run in runs(out)] == ["small", "trial-0000"]
        shutil.rmtree(out)
        out.mkdir()
        shutil.copy(empty_database, out)


VARIABLES = {
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
    "MLFLOW_REGISTRY_URI": "http://127.0.0.1:1",
    "MLFLOW_EXPERIMENT_NAME": "mine",
    "MLFLOW_EXPERIMENT_ID": "77",
    "MLFLOW_RUN_ID": "deadbeef",
    "MLFLOW_ARTIFACT_URI": "s3://nowhere",
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NoSuchPool",
    "MLFLOW_ENABLE_WORKSPACES": "true",
    "MLFLOW_DISABLE_TELEMETRY": "maybe",
    "_MLFLOW_SERVER_ARTIFACT_ROOT": "s3://nowhere",
}


def test_the_environment_is_of_no_account_and_left_as_found(
    out: Path, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in VARIABLES.items():
        monkeypatch.setenv(name, text)
    before = dict(os.environ)
    follow(out, artifact).end("FINISHED")
    assert dict(os.environ) == before
    assert [run[0] for run in runs(out)] == ["small", "trial-0000"]
    assert len(list(out.glob("mlartifacts/*/artifacts/model.acz"))) == 1


@pytest.fixture
def held(out: Path) -> Iterator[None]:
    with closing(sqlite3.connect(out / "mlflow.db", timeout=0)) as database:
        database.execute("BEGIN EXCLUSIVE")
        yield


@pytest.mark.usefixtures("held")
def test_a_database_in_use_is_not_damaged(out: Path) -> None:
    with pytest.raises(SearchError, match="could not open its database: database is locked"):
        Tracker(out, "small", {})
    assert not (out / "mlflow.db.damaged").exists()


@pytest.mark.parametrize("table", ["metrics", "params"])
def test_what_the_database_says_is_told(table: str, out: Path, artifact: Path) -> None:
    tracker = Tracker(out, "small", {})
    with closing(sqlite3.connect(out / "mlflow.db")) as database:
        database.execute(
            f"CREATE TRIGGER full BEFORE INSERT ON {table} "
            "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        )
    with pytest.raises(SearchError, match=r"trial 0: database or disk is full$"):
        tracker.log_trial(TRIAL, artifact)


def test_no_link_is_left(
    out: Path, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    tracker = follow(out, artifact)
    assert list((tmp_path / "temporary").iterdir())
    del tracker
    assert not list((tmp_path / "temporary").iterdir())
    assert (out / "mlflow.db").is_file()


@needs_posix
def test_where_links_are_for_administrators_a_junction_does(
    out: Path, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Windows:
        """What stands in for a module that there is on Windows alone."""

        CreateJunction = staticmethod(os.symlink)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "a required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    with pytest.raises(OSError, match="privilege"):
        store.linked(out)
    monkeypatch.setitem(sys.modules, "_winapi", Windows())
    monkeypatch.setattr(os, "name", "nt")
    link = out.with_name("link")
    store._link(link, out)
    monkeypatch.undo()
    assert link.samefile(out)


BUILDING = """
import sys
from pathlib import Path
from autocompress.tracking import Tracker
Tracker(Path(sys.argv[1]), "small", {})
"""


@needs_posix
@pytest.mark.slow
@pytest.mark.parametrize(
    "seconds",
    [0.9, *(pytest.param(seconds, marks=pytest.mark.exhaustive) for seconds in (0.3, 1.7, 2.5))],
)
def test_a_database_is_there_whole_or_not_at_all(seconds: float, tmp_path: Path) -> None:
    """Killed while it is built, after so many seconds since it was begun."""
    out = tmp_path / "search"
    process = subprocess.Popen([sys.executable, "-c", BUILDING, str(out)])
    while not list(out.glob(".mlflow.db*.tmp")) and process.poll() is None:
        pass
    with contextlib.suppress(subprocess.TimeoutExpired):  # a quick machine may be done by then
        process.wait(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "mlflow.db").exists() or store.is_whole(out)
    subprocess.run([sys.executable, "-c", BUILDING, str(out)], check=True)
    assert [run[0] for run in runs(out)] == ["small"]
