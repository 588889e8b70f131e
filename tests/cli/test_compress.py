"""`compress`, `plan` and `compare`: from a budget to one file, and what it does otherwise."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import autocompress
from autocompress.cli import main
from autocompress.lm import LanguageModeling, load_model, read_corpus


def run(*arguments: object, expect: int = 0) -> Result:
    """Run a command in this process."""
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == expect, result.output
    return result


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, corpus: Path, model: Path
) -> tuple[Path, dict[str, Any]]:
    path = tmp_path_factory.mktemp("made") / "toy.acz"
    options = ["--data", corpus, "--budget", "6kB", "--out", path, "--json"]
    return path, json.loads(run("compress", model, *options).stdout)


def test_compress_writes_one_file_and_tells_what_it_costs(
    made: tuple[Path, dict[str, Any]], corpus: Path
) -> None:
    path, document = made
    assert document["artifact"] == str(path)
    assert document["size_bytes"] == path.stat().st_size <= 6000
    measured = json.loads(run("evaluate", path, "--data", corpus, "--json").stdout)
    assert document["valid_perplexity"] == pytest.approx(measured["perplexity"], rel=1e-9)
    rise = document["valid_perplexity"] / document["baseline"]["valid_perplexity"] - 1
    assert document["rise"] == pytest.approx(rise)


def test_a_plan_that_was_printed_is_carried_out(
    made: tuple[Path, dict[str, Any]], corpus: Path, model: Path, tmp_path: Path
) -> None:
    path, document = made
    printed = run("plan", path).stdout
    assert json.loads(printed) == document["plan"]
    (tmp_path / "plan.json").write_text(printed, encoding="utf-8")
    options = ["--data", corpus, "--plan", tmp_path / "plan.json", "--out", tmp_path / "a.acz"]
    lines = run("compress", model, *options).stdout
    assert (tmp_path / "a.acz").read_bytes() == path.read_bytes()
    assert "x smaller than" in lines
    assert "perplexity" in lines


@pytest.mark.parametrize("text", ["{", "[]", '{"treatments": {"w": 1}}'])
def test_what_is_no_plan_is_refused(text: str, corpus: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(text, encoding="utf-8")
    done = run("compress", model, "--data", corpus, "--plan", tmp_path / "plan.json", expect=1)
    assert "plan.json" in done.stderr


def test_wrong_usage(made: tuple[Path, dict[str, Any]], corpus: Path, model: Path) -> None:
    run("compress", model, "--data", corpus, expect=2)
    run("compress", model, "--data", corpus, "--budget", "1kB", "--plan", "x.json", expect=2)
    run("compress", "--data", corpus, "--budget", "6kB", expect=2)
    run("compare", made[0], expect=2)
    run("compare", made[0], "--model", "x:y", expect=2)
    assert "give MODEL" in run("compare", made[0], "--data", corpus, expect=2).stderr


def test_compare_tells_how_predictions_differ(
    made: tuple[Path, dict[str, Any]], corpus: Path, model: Path
) -> None:
    document = json.loads(run("compare", made[0], model, "--data", corpus, "--json").stdout)
    assert document["words"] == 590
    assert 0 < document["agreement"] < 1
    assert document["divergence"] > 0
    for one in document["expectations"]:
        shares = [share for _, share in one["original"]]
        assert len(shares) == len(one["compressed"]) == 3
        assert shares == sorted(shares, reverse=True)
    assert len(document["original_text"].split()) == len(document["compressed_text"].split())
    assert "<unk>" not in document["original_text"].split()
    assert "the same" in run("compare", made[0], model, "--data", corpus).stdout


def test_a_model_agrees_with_itself_in_the_folder_of_a_search(
    corpus: Path, model: Path, out: Path
) -> None:
    loaded, vocabulary = load_model(model)
    task = LanguageModeling(read_corpus(corpus, vocabulary))
    autocompress.search(loaded, task, budget=6000, trials=1, out=out)
    shutil.copy(out / "trials/baseline/model.acz", out / "trials/0000/model.acz")
    document = json.loads(run("compare", f"{out}:0", "--data", corpus, "--json").stdout)
    assert document["agreement"] == 1
    assert document["divergence"] == pytest.approx(0, abs=1e-9)
    assert document["original_text"] == document["compressed_text"]
    for one in document["expectations"]:
        assert one["original"] == one["compressed"]


OWN = """
from toys import Classification, teacher
"""


def test_models_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    own = ["--model", "mine:teacher", "--task", "mine:Classification"]
    run("compress", *own, "--budget", "9kB", "--out", "a.acz")
    document = json.loads(run("compare", "a.acz", *own, "--json").stdout)
    assert document["metric"] == "accuracy"
    assert set(document["original"]) == set(document["compressed"]) == {"valid", "test"}
    assert 0 < document["relative_error"] < 1
    assert 0.5 < document["agreement"] <= 1
    lines = run("compare", "a.acz", *own).stdout
    assert "accuracy on test data" in lines
    assert "apart" in lines
