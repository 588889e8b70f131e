"""What a user meets in the terminal: help, exit codes, names of files, widths, words."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Done, only_line, run, run_alone

from autocompress.cli import main

COMMANDS = list(main.commands)
NARROW = {"FORCE_COLOR": "1", "COLUMNS": "80", "NO_COLOR": "1"}
"""What makes rich take stdout for a terminal of 80 columns."""


def narrow(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    for name, text in {**NARROW, "COLUMNS": str(columns)}.items():
        monkeypatch.setenv(name, text)


def plain(text: str) -> list[str]:
    """Return lines without what makes them bold."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()


@pytest.mark.parametrize("command", [[], *([one] for one in COMMANDS)], ids=" ".join)
def test_help_is_whole_at_80_columns(command: list[str]) -> None:
    text = run(*command, "--help").stdout
    assert "\b" not in text
    assert "\\b" not in text
    assert "..." not in text.partition("\n")[2].replace("COMMAND [ARGS]...", "")
    assert max(map(len, text.splitlines())) <= 80


def test_commands_stand_in_the_order_of_the_work() -> None:
    places = {command: place for place, command in enumerate(COMMANDS)}
    for order in (
        ("demo", "train", "search", "front", "evaluate"),
        ("import", "search", "ui"),
        ("search", "inspect", "predict", "generate", "export", "reproduce"),
        ("search", "compress", "plan", "compare", "export"),
    ):
        assert [places[one] for one in order] == sorted(places[one] for one in order)


def test_options_of_search_stand_in_groups_and_examples_apart() -> None:
    lines = run("search", "--help").stdout.splitlines()
    titles = [line for line in lines if re.fullmatch(r"[A-Z][a-z -]+:", line)]
    groups = ["Data:", "Limits:", "Effort:", "Fine-tuning:", "Output:", "A model of your own:"]
    assert [title for title in titles if title in groups] == groups
    examples = lines[lines.index("Examples:") + 1 :]
    assert len(examples) >= 2
    assert all(line.startswith("  autocompress search ") for line in examples)


WRONG = {
    "no model": (["search"], "MODEL"),
    "no data": (["search", "m"], "--data"),
    "empty budget": (["search", "m", "--data", "d", "--budget", ""], "10x"),
    "budget without a number": (["search", "m", "--data", "d", "--budget", "x"], "10x"),
    "budget of nothing": (["search", "m", "--data", "d", "--budget", "0bpw"], "> 0"),
    "empty rise": (["search", "m", "--data", "d", "--max-rise", ""], "1%"),
    "rise without a unit": (["search", "m", "--data", "d", "--max-rise", "1"], "1%"),
    "latency without a unit": (["search", "m", "--data", "d", "--latency-budget", "1"], "0.25x"),
    "no time": (["search", "m", "--data", "d", "--timeout", "0m"], "10m"),
    "no recovery": (["search", "m", "--data", "d", "--recover", "long"], "2000steps"),
    "negative seed": (["search", "m", "--data", "d", "--seed", "-1"], "--seed"),
    "seed beyond 32 bits": (["search", "m", "--data", "d", "--seed", 2**32], "--seed"),
    "no jobs": (["search", "m", "--data", "d", "--jobs", "0"], "--jobs"),
    "unknown option": (["search", "m", "--budgets", "1MB"], "--budget"),
    "negative seed of a training": (
        ["train", "--data", "d", "--out", "o", "--seed", "-1"],
        "--seed",
    ),
    "negative seed of a text": (["generate", "f.acz", "--seed", "-1"], "--seed"),
    "empty budget of one file": (["compress", "m", "--data", "d", "--budget", ""], "3bpw"),
    "no words": (["predict", "f.acz", "the", "--top-k", "0"], "--top-k"),
    "no words exported": (["export", "f.acz", "--onnx", "o", "--top-k", "0"], "--top-k"),
    "no port": (["ui", "r", "--port", "0"], "--port"),
    "unknown command": (["compact"], "compact"),
}
FAILED = {
    "no model there": (["search", "missing", "--data", "missing"], "missing"),
    "no file there": (["inspect", "missing.acz"], "missing.acz"),
    "no search there": (["front", "missing"], "holds no search"),
    "no search in a folder": (["predict", ".", "the"], "holds no search"),
    "no trial of that kind": (["predict", ".:3", "the"], "holds no search"),
    "no search space there": (["search", "m", "--data", "d", "--space", "none"], "size"),
}


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        pytest.param(command, code, words, id=name)
        for code, kind in ((2, WRONG), (1, FAILED))
        for name, (command, words) in kind.items()
    ],
)
def test_exit_codes_tell_wrong_usage_from_failure(
    command: list[object],
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in only_line(run(*command, expect=code))
    assert not list(tmp_path.iterdir())


def test_a_budget_below_header_and_vocabulary_is_refused_at_once(
    corpus: Path, model: Path, tmp_path: Path
) -> None:
    options = ["--data", corpus, "--out", tmp_path / "o"]
    for budget in ("1kB", "500x", "1bpw"):
        done = run("search", model, *options, "--budget", budget, expect=2)
        assert re.search(r"`budget >= 1\.\d+ kB` must hold", only_line(done))
        assert "vocab.txt" in only_line(done)
        assert "calibration" not in done.stderr
    assert not (tmp_path / "o").exists()


def test_a_rise_in_the_unit_of_another_metric_is_refused(
    corpus: Path, model: Path, tmp_path: Path
) -> None:
    options = ["--data", corpus, "--out", tmp_path / "o", "--max-rise", "0.5acc"]
    line = only_line(run("search", model, *options, expect=2))
    assert "'acc', but the metric of the task is 'perplexity'" in line


def test_a_run_stands_for_its_best_and_its_trials(
    searched: tuple[Path, Done], corpus: Path, tmp_path: Path
) -> None:
    folder, document = searched[0], json.loads(searched[1].stdout)
    best = document["best"]
    other = next(one["trial"] for one in document["front"] if one["trial"] != best["trial"])
    names = {folder: best["trial"], f"{folder}:{other}": other}
    for name, number in names.items():
        path = folder / "trials" / f"{number:04d}" / "model.acz"
        assert json.loads(run("inspect", name, "--json").stdout)["path"] == str(path)
        for command in (
            ["predict", name, "word1 word2"],
            ["generate", name, "--words", 3],
            ["export", name, "--onnx", tmp_path / "m.onnx"],
        ):
            by_file = [path if argument == name else argument for argument in command]
            assert run(*command).stdout == run(*by_file).stdout
    measured = json.loads(run("evaluate", folder, "--data", corpus, "--json").stdout)
    assert measured["size_bytes"] == best["size_bytes"]
    assert f"trial {best['trial']}" in run("inspect", folder).stderr
    for number in ("99", "x", ""):
        line = only_line(run("inspect", f"{folder}:{number}", expect=1))
        assert f"'{number}'; there are 0, 1" in line


def test_a_run_without_a_best_names_a_trial(searched: tuple[Path, Done], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(searched[0], copy, ignore=shutil.ignore_patterns("mlartifacts"))
    for path in (copy / "search.json", copy / "trials" / "search.json"):
        settings = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**settings, "budget_bytes": 10}), encoding="utf-8")
    for path in copy.glob("trials/[0-9]*/trial.json"):
        trial = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**trial, "feasible": False}), encoding="utf-8")
    line = only_line(run("predict", copy, "the", expect=1))
    assert "keeps its limits" in line
    assert f"{copy}:" in line


def test_words_that_the_model_does_not_know_are_told(searched: tuple[Path, Done]) -> None:
    done = run("predict", searched[0], "Word1 word2 Nonsense WORD1 nonsense")
    assert "read in small letters: Word1, WORD1" in done.stderr
    assert "read as <unk>: Nonsense, nonsense" in done.stderr
    shown = run("predict", searched[0], "word1 word2 <unk> word1 <unk>")
    assert done.stdout == shown.stdout
    assert "unknown" not in shown.stderr
    assert "small letters" not in shown.stderr
    document = json.loads(run("predict", searched[0], "Word1 zzz", "--json").stdout)
    assert document["unknown"] == ["zzz"]


def test_predict_starts_without_torch(searched: tuple[Path, Done]) -> None:
    code = (
        "import sys; from autocompress.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print({'torch', 'mlflow', 'optuna', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, "predict", str(searched[0]), "word1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


def test_generate_breaks_lines_between_words(
    searched: tuple[Path, Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["generate", searched[0], "--words", 40, "--prompt", "word1 word2"]
    whole = run(*options).stdout
    narrow(monkeypatch, 30)
    broken = run(*options).stdout
    assert broken.split() == whole.split()
    assert max(map(len, broken.splitlines())) <= 30


@pytest.mark.parametrize("columns", [40, 80, 140])
def test_tables_are_whole_in_a_terminal(
    columns: int, searched: tuple[Path, Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = run("front", searched[0]).stdout.split()
    narrow(monkeypatch, columns)
    lines = plain(run("front", searched[0]).stdout)
    table = lines[
        : next(place for place, line in enumerate(lines) if line.startswith("best plan"))
    ]
    assert max(map(len, table)) <= columns
    assert set(cells) <= set(" ".join(lines).split())
    assert not any("…" in line for line in lines)


def test_a_pipe_gets_plain_columns(searched: tuple[Path, Done]) -> None:
    for command in (["front", searched[0]], ["inspect", searched[0]]):
        text = run_alone(*command).stdout
        assert text.isascii()
        header, first, second = text.splitlines()[:3]
        end = header.index("  ", header.index("size" if "size" in header else "bytes"))
        assert all(row[end - 1] != " " and row[end] == " " for row in (first, second))


def test_the_end_names_next_steps_that_work(
    searched: tuple[Path, Done], corpus: Path, model: Path
) -> None:
    options = ["--data", corpus, "--budget", "8kB", "--trials", 12, "--out", searched[0]]
    lines = run("search", model, *options).stdout.splitlines()
    steps = [line.removeprefix("next:").split() for line in lines[-4:]]
    assert [step[:2] for step in steps] == [
        ["autocompress", command] for command in ("ui", "inspect", "predict", "compare")
    ]
    assert not any("http" in line for line in lines)
