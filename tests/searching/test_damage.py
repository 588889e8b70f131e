"""Folders heal: every file of a search, damaged in every way, and the search again."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from toys import Classification, teacher

import autocompress
from autocompress import SearchResult
from autocompress.knowledge.kept import cache_folder
from autocompress.searching.folder import SearchFolder
from autocompress.tracking import store

# Raised while MLflow's database models are imported, with SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

TRIALS = 6
CACHED = "cached"
"""What is known of the model, which lies elsewhere."""
FILES = (
    "search.json",
    "trials/search.json",
    "baseline.json",
    "trials/baseline/model.acz",
    "trials/0000/trial.json",
    "trials/0001/model.acz",
    "trials/0002/trial.json",
    "trials/0002/model.acz",
    "openings.json",
    CACHED,
    "test.json",
    "result.json",
    "recovered/recovered-*/trial.json",
    "recovered/control-*/trial.json",
    "optuna.journal",
    "study.jsonl",
    "mlflow.db",
    "front.csv",
    "report.md",
)


def garbage(path: Path) -> None:
    path.write_bytes(random.Random(0).randbytes(3000))


def truncated(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: 2 * len(content) // 3])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "file").touch()


DAMAGES: Mapping[str, Callable[[Path], object]] = {
    "deleted": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "truncated": truncated,
    "garbage": garbage,
    "a list": lambda path: path.write_text("[]\n"),
    "null": lambda path: path.write_text("null\n"),
    "an empty object": lambda path: path.write_text("{}\n"),
    "another object": lambda path: path.write_text('{"size_bytes": "many", "number": NaN}\n'),
    "a folder": a_folder,
    "flipped": flipped,
}
QUICK = ("deleted", "truncated", "a folder")
REPLACED_ALONE = ("front.csv", "report.md", "result.json")
"""Output, which is written anew each time; where a folder has its name, that is said."""


def search(out: Path, trials: int = TRIALS) -> SearchResult:
    return autocompress.search(
        teacher(), Classification(), budget=12_000, trials=trials, out=out, recovery="8steps"
    )


@pytest.fixture(autouse=True)
def databases_are_copied(empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Building one takes seconds, and is tested with MLflow."""
    monkeypatch.setattr(store, "_build", lambda path, place: shutil.copy(empty_database, path))


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing else lies in it, which would be damaged as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, empty_database: Path, own_cache: None) -> Path:
    del own_cache
    out = tmp_path_factory.mktemp("whole") / "search"
    out.mkdir()
    shutil.copy(empty_database, out)
    search(out)
    return out


def known(out: Path, *, predicts: bool) -> dict[str, Any]:
    """All that counts of a search: plans, numbers and bytes, and perhaps what it predicts."""
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    left_out = {"seconds"} if predicts else {"seconds", "prospects", "sound"}
    text = json.dumps({name: value for name, value in result.items() if name not in left_out})
    folder = SearchFolder(out)
    trials = [trial.to_json() for trial in folder.trials()]
    for trial in trials:
        for name in ("started", "seconds", "cpu_seconds", "losses"):
            del trial[name]
    return {
        "result": text.replace(str(out), ""),
        "trials": trials,
        "files": {
            str(path.relative_to(out)): path.read_bytes()
            for path in sorted(out.glob("*/*/model.acz"))
        },
    }


def runs(out: Path) -> list[tuple[str, str]]:
    """Names and states of the runs in MLflow, of which each must have its files."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{out / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("autocompress")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    for run in found:
        if "mlflow.parentRunId" in run.data.tags:
            place = out / "mlartifacts" / run.info.run_id / "artifacts"
            assert Path(run.info.artifact_uri.removeprefix("file://")) == place
            assert (place / "model.acz").is_file() or run.info.run_name == "uncompressed"
    return sorted((run.info.run_name, run.info.status) for run in found)


def heals(whole: Path, tmp_path: Path, names: tuple[str, ...], damage: str) -> None:
    out = tmp_path / "copy"
    shutil.copytree(whole, out)
    for name in names:
        for path in list(cache_folder().iterdir()) if name == CACHED else out.glob(name):
            DAMAGES[damage](path)
    search(out)
    # Where predictions are lost, they are made again only if there is something left to plan.
    predicts = "openings.json" not in names
    assert known(out, predicts=predicts) == known(whole, predicts=predicts)
    assert runs(out) == runs(whole)
    assert not list(out.rglob("*.tmp*"))


@pytest.mark.parametrize(
    "damage",
    [
        damage if damage in QUICK else pytest.param(damage, marks=pytest.mark.slow)
        for damage in DAMAGES
    ],
)
def test_a_folder_heals_from_damage_everywhere(damage: str, whole: Path, tmp_path: Path) -> None:
    spared = {"trials/search.json", "study.jsonl", "trials/0002/model.acz"}
    names = [name for name in FILES if name not in spared]
    if damage == "a folder":
        names = [name for name in names if name not in REPLACED_ALONE and ".acz" not in name]
    heals(whole, tmp_path, tuple(names), damage)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        pytest.param(name, damage, marks=[] if (i + j) % 4 == 0 else pytest.mark.exhaustive)
        for i, name in enumerate(FILES)
        for j, damage in enumerate(DAMAGES)
    ],
)
def test_a_folder_heals_from_one_damaged_file(
    name: str, damage: str, whole: Path, tmp_path: Path
) -> None:
    if damage == "a folder" and (name in REPLACED_ALONE or name.endswith(".acz")):
        pytest.skip("a folder is never replaced by a file")
    heals(whole, tmp_path, (name,), damage)
