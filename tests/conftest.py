"""What tests of several modules share in one run."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # As many processes as cores: threads that wait for each other across them take far longer.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where measurements of models are kept during the tests, instead of in the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "autocompress"


@pytest.fixture(autouse=True)
def no_server() -> Iterator[None]:
    """Leave no tracking server to other tests: `mlflow.set_tracking_uri` names it for good."""
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without experiments of ours: making one takes seconds."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    from mlflow import MlflowClient

    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def out(empty_database: Path, tmp_path: Path) -> Path:
    """A folder for a search, in which nothing but an empty database lies."""
    folder = tmp_path / "a search"
    folder.mkdir()
    shutil.copy(empty_database, folder)
    return folder
