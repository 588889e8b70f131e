"""Several models under one budget, from the command line: one front, which all commands show."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from commands import listen_to_interrupts, only_line, run, run_alone
from platforms import needs_posix
from toys import toy_corpus, toy_model

import autocompress
from autocompress.outcome.contenders import own_number
from autocompress.searching.folder import SearchFolder
from autocompress.searching.record import prepare_record
from autocompress.tracking.figures import truth

BUDGET = 7000
OPTIONS = ("--budget", BUDGET, "--space", "quick", "--trials", 6)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    return toy_model(tmp_path_factory.mktemp("model") / "narrow", corpus, hidden_size=8)


@pytest.fixture(scope="module")
def found(
    tmp_path_factory: pytest.TempPathFactory,
    empty_database: Path,
    corpus: Path,
    model: Path,
    narrow: Path,
) -> tuple[Path, dict[str, Any]]:
    """A finished search of two models: its folder, and what it printed."""
    out = tmp_path_factory.mktemp("several")
    shutil.copy(empty_database, out)
    options = [model, narrow, "--data", corpus, *OPTIONS, "--out", out, "--json"]
    return out, json.loads(run("search", *options).stdout)


def test_each_trial_names_its_model(found: tuple[Path, dict[str, Any]]) -> None:
    out, document = found
    names = [one["name"] for one in document["models"]]
    assert names == ["toy-lm", "narrow"]
    assert document["trials"] == 6 == sum(one["trials"] for one in document["models"])
    assert all(one["trials"] > 0 for one in document["models"])
    for member in document["front"]:
        model, own = own_number(member["trial"], 2)
        assert member["model"] == names[model]
        assert member["artifact"] == str(SearchFolder(out / "models" / names[model]).artifact(own))


def test_one_front_over_all_models(found: tuple[Path, dict[str, Any]]) -> None:
    out, document = found
    front = document["front"]
    for one in front:
        assert one["size_bytes"] == Path(one["artifact"]).stat().st_size <= BUDGET
    points = [(one["size_bytes"], one["valid_perplexity"]) for one in front]
    assert points == sorted(points, key=lambda point: (point[0], -point[1]))
    known = [
        (trial.size_bytes, trial.values["perplexity"])
        for name in ("toy-lm", "narrow")
        for trial in SearchFolder(out / "models" / name).trials()
        if "perplexity" in trial.values and trial.size_bytes <= BUDGET
    ]
    beaten = {
        point
        for point in known
        for other in known
        if other != point and other[0] <= point[0] and other[1] <= point[1]
    }
    assert set(points) == set(known) - beaten
    assert document["best"] == min(front, key=lambda one: one["valid_perplexity"])


def test_relative_numbers_are_those_of_the_most_accurate_model(
    found: tuple[Path, dict[str, Any]],
) -> None:
    best = min(found[1]["models"], key=lambda one: one["value"])
    baseline = found[1]["baseline"]
    assert (baseline["model"], baseline["trial"]) == (best["name"], None)
    length = Path(baseline["artifact"]).stat().st_size
    assert baseline["size_bytes"] == best["size_bytes"] == length
    assert baseline["valid_perplexity"] == pytest.approx(best["value"], rel=1e-9)


def test_test_data_are_read_for_the_joint_front_alone(
    found: tuple[Path, dict[str, Any]],
) -> None:
    out, document = found
    scored = json.loads((out / "test.json").read_text())
    shown = [document["baseline"], *document["front"]]
    assert {out / name for name in scored} == {Path(one["artifact"]) for one in shown}
    assert all(one["test_perplexity"] > 0 for one in shown)
    assert not list(out.glob("models/*/test.json"))


def test_the_folder_of_all_is_one_search_for_other_commands(
    found: tuple[Path, dict[str, Any]], corpus: Path
) -> None:
    out, document = found
    best = document["best"]
    again = json.loads(run("front", out, "--json").stdout)
    assert again["front"] == document["front"]
    assert again["models"] == document["models"]
    scored = json.loads(run("evaluate", out, "--data", corpus, "--json").stdout)
    assert scored["perplexity"] == pytest.approx(best["valid_perplexity"], rel=1e-9)
    done = run("inspect", f"{out}:{best['trial']}", "--json")
    assert sum(json.loads(done.stdout)["parts"].values()) == best["size_bytes"]
    shown = run("front", out).stdout
    assert f"trial {best['trial']} of {best['model']}" in shown
    assert "the models:" in shown
    assert "perplexity:" in run("compare", out, "--data", corpus).stdout
    assert "%" in run("predict", out, "word1 word2").stdout


def test_report_page_and_table_name_the_models(found: tuple[Path, dict[str, Any]]) -> None:
    out, document = found
    best = document["best"]
    title = f"trial {best['trial']} of {best['model']}"
    for name in ("report.md", "front.html"):
        text = (out / name).read_text(encoding="utf-8")
        assert title in text
        assert "The models" in text
    assert "models/" in (out / "front.html").read_text(encoding="utf-8")
    opened = autocompress.open_search(out)
    told = json.loads(json.dumps(opened.to_json() | {"seconds": document["seconds"]}))
    assert json.loads((out / "result.json").read_text()) == document == told
    frame = opened.to_dataframe()
    assert set(frame["model"]) == {"toy-lm", "narrow"}
    assert list(frame[frame["best"]]["trial"]) == [best["trial"]]
    assert (out / "front.csv").read_text().startswith("trial,model,")
    assert opened.plot_weights().size > (0, 0)


def test_mlflow_has_all_trials_under_one_search(found: tuple[Path, dict[str, Any]]) -> None:
    from mlflow import MlflowClient

    out, document = found
    client = MlflowClient(f"sqlite:///{out / 'mlflow.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name == "autocompress"]
    runs = client.search_runs([experiment.experiment_id], "tags.model != ''")
    assert len(runs) == document["trials"]
    assert {run.data.tags["model"] for run in runs} == {"toy-lm", "narrow"}
    (best,) = (run for run in runs if run.data.tags.get("best") == truth(True))
    assert best.data.tags["model"] == document["best"]["model"]
    assert not list(out.glob("models/*/mlflow.db"))


def test_the_same_search_again_returns_at_once(
    found: tuple[Path, dict[str, Any]], corpus: Path, model: Path, narrow: Path
) -> None:
    out, document = found
    options = ["--data", corpus, *OPTIONS, "--out", out, "--json"]
    again = run("search", model, narrow, *options)
    assert json.loads(again.stdout)["front"] == document["front"]
    assert "trials: " not in again.stderr
    assert "calibration" not in again.stderr
    other = run("search", narrow, model, *options, expect=1)
    assert "'toy-lm+narrow' there and 'narrow+toy-lm' here" in only_line(other)


def test_models_of_other_words_are_refused(corpus: Path, model: Path, tmp_path: Path) -> None:
    words = toy_corpus(tmp_path / "data")
    for text in words.iterdir():
        text.write_text(text.read_text().replace("word3", "werd3"))
    other = toy_model(tmp_path / "other", words)
    done = run("search", model, other, "--data", corpus, "--out", tmp_path / "out", expect=2)
    assert "must know the same words" in only_line(done)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--latency-budget", "0.5x"], "latency is told in shares of one"),
        (["--recover", "9steps", "--recover-members", 2], "only the best plan is fine-tuned"),
        (["--budget", 200], "must hold for these models"),
    ],
)
def test_what_several_models_have_not_in_common_is_refused(
    options: list[object], told: str, corpus: Path, model: Path, narrow: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ["search", model, narrow, "--data", corpus, "--out", out, *options]
    done = run(*command, expect=2 if "--budget" in options else 1)
    assert told in only_line(done)
    assert not (out / "search.json").exists()


@pytest.mark.slow
def test_what_is_lost_is_made_anew(
    found: tuple[Path, dict[str, Any]], corpus: Path, model: Path, narrow: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(found[0], out)
    best = out / Path(found[1]["best"]["artifact"]).relative_to(found[0])
    kept = best.read_bytes()
    best.unlink()
    lost = ["mlflow.db", "models.json", "schedule.json", "test.json", "models/narrow/study.jsonl"]
    for name in lost:
        (out / name).unlink()
    shutil.rmtree(out / "mlartifacts")
    options = [model, narrow, "--data", corpus, *OPTIONS, "--out", out, "--json"]
    again = json.loads(run("search", *options).stdout)
    assert best.read_bytes() == kept
    assert again["models"] == found[1]["models"]
    for one, other in zip(again["front"], found[1]["front"], strict=True):
        same = {"artifact": other["artifact"]}
        assert one | same == other | same
    (out / "mlflow.db").unlink()
    prepare_record(out)
    assert (out / "mlflow.db").is_file()


@pytest.mark.slow
@needs_posix
def test_a_search_that_was_killed_goes_on_as_it_would_have(
    found: tuple[Path, dict[str, Any]], corpus: Path, model: Path, narrow: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = [model, narrow, "--data", corpus, *OPTIONS, "--out", out, "--json"]
    command = [sys.executable, "-m", "autocompress", "search", *map(str, options)]
    for trials in (1, 4):
        killed = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=listen_to_interrupts,
        )  # fmt: skip
        while len(list(out.glob("models/*/trials/[0-9]*/trial.json"))) < trials:
            assert killed.poll() is None
            time.sleep(0.01)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    document = json.loads(run_alone("search", *options).stdout)
    assert document["models"] == found[1]["models"]
    for one, other in zip(document["front"], found[1]["front"], strict=True):
        assert Path(one["artifact"]).read_bytes() == Path(other["artifact"]).read_bytes()
        assert one["trial"] == other["trial"]
        assert one["valid_perplexity"] == other["valid_perplexity"]
