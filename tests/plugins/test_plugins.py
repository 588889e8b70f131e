"""What another package brings works as what is built in, without a word about it here."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PLUGINS, ROOT = Path(__file__).parent, Path(__file__).parents[2]
TOYS = sorted(PLUGINS.glob("toy_*.py"))
MOST_LINES = 60

pytestmark = pytest.mark.slow


def install(target: Path) -> Path:
    """Lay the toy package out as pip does: its modules, and what it says of itself beside."""
    project = tomllib.loads((PLUGINS / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    about = target / f"toy_plugins-{project['version']}.dist-info"
    about.mkdir(parents=True)
    for toy in TOYS:
        shutil.copy(toy, target)
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n",
        encoding="utf-8",
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return target


def run(*arguments: str, path: tuple[Path, ...] = (), expect: int = 0) -> str:
    """Run Python in a process of its own; return what it says, or, where it must fail, why."""
    search = os.pathsep.join(map(str, (*path, ROOT)))
    environment = {**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stderr
    return done.stderr if expect else done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, site: Path) -> Path:
    """Go from plan to recovery with the toys installed; return where the files lie."""
    folder = tmp_path_factory.mktemp("journey")
    run(str(PLUGINS / "journey.py"), str(folder), path=(site,))
    return folder


@pytest.mark.parametrize("toy", TOYS, ids=lambda toy: toy.stem)
def test_a_plugin_is_one_short_file(toy: Path) -> None:
    assert len(toy.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_plugins_go_from_plan_to_recovery(folder: Path) -> None:
    for name in ("toy.acz", "recovery/model.acz", "out/report.md"):
        assert (folder / name).stat().st_size > 0


def test_files_of_plugins_are_inspected(folder: Path, site: Path) -> None:
    said = run("-m", "autocompress", "inspect", str(folder / "toy.acz"), "--json", path=(site,))
    weights = {one["name"]: one for one in json.loads(said)["weights"]}
    assert weights["gated.value"]["structure"] == "signs 2 rounds"
    assert weights["gated.value"]["precision"] == "wide zero 0.05"


def test_who_lacks_a_plugin_is_told_whose_it_is(folder: Path) -> None:
    said = run("-m", "autocompress", "inspect", str(folder / "toy.acz"), expect=1)
    assert "needs precision 'toy_wide_zero', which package 'toy-plugins' 1.0 has" in said
    assert "Traceback" not in said
