"""The best of a search as a model of MLflow, and the page on which trials are browsed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from commands import listen_to_interrupts
from pandas import DataFrame
from platforms import needs_posix

import autocompress
from autocompress.lm import (
    LanguageModel,
    LanguageModelConfig,
    LanguageModeling,
    carried_vocabulary,
    read_corpus,
)
from autocompress.outcome.results import SearchResult
from autocompress.recovery import RecoveryBudget, RecoverySettings
from autocompress.searching.record import prepare_record
from autocompress.tracking import store
from autocompress.tracking.model import model_name
from autocompress.tracking.server import free_port

# Raised while MLflow's database models are imported, with SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def searched(
    tmp_path_factory: pytest.TempPathFactory, empty_database: Path
) -> tuple[Path, SearchResult]:
    """A search over a language model, with a little fine-tuning."""
    out = tmp_path_factory.mktemp("searched") / "found"
    recovery = RecoverySettings(RecoveryBudget(steps=4), segments=2)
    return out, search_in(out, empty_database, trials=2, recovery=recovery)


def search_in(out: Path, empty_database: Path, **settings: Any) -> SearchResult:
    out.mkdir()
    shutil.copy(empty_database, out)
    text = out.parent / "text.txt"
    text.write_text("the cat saw a dog\na dog saw the cat\n" * 100, encoding="utf-8")
    corpus = read_corpus(text)
    torch.manual_seed(0)
    size = len(corpus.vocabulary)
    model = LanguageModel(LanguageModelConfig("lstm", size, 16, 16, num_layers=1))
    task = LanguageModeling(corpus)
    return autocompress.search(model, task, budget="2.5kB", out=out, name="cats/dogs", **settings)


def test_a_folder_is_found_whose_name_would_be_another_one_in_an_address(
    tmp_path: Path, empty_database: Path
) -> None:
    out = tmp_path / "half%20full"
    search_in(out, empty_database, trials=1)
    assert [path.name for path in out.glob("mlartifacts/**/model/artifacts/*")] == ["model.acz"]


def loaded(out: Path) -> Any:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{out / 'mlflow.db'}")
    try:
        return mlflow.pyfunc.load_model("models:/cats_dogs@best")
    finally:
        mlflow.set_tracking_uri(before)


def test_texts_go_in_and_next_words_come_out(searched: tuple[Path, SearchResult]) -> None:
    out, found = searched
    assert found.best is not None
    served = loaded(out)
    answer = served.predict(DataFrame({"text": ["the cat", "the"]}), params={"top_k": 4})
    assert [len(words) for words in answer["words"]] == [4, 4]
    artifact = autocompress.open_artifact(found.best.artifact)
    vocabulary = carried_vocabulary(artifact)
    ids = torch.from_numpy(vocabulary.encode([vocabulary.end_of_sentence, "the", "cat"]))
    with torch.no_grad():
        shares = autocompress.load(artifact)(ids[:, None])[0][-1, 0].softmax(-1)
    best = shares.topk(4)
    assert list(answer["words"][0]) == [vocabulary.words[one] for one in best.indices.tolist()]
    assert list(answer["probabilities"][0]) == pytest.approx(best.values.tolist(), abs=1e-4)
    schema = served.metadata.signature.to_dict()
    assert json.loads(schema["inputs"])[0]["name"] == "text"
    assert {one["name"] for one in json.loads(schema["outputs"])} == {"words", "probabilities"}


def test_the_folder_tells_all_that_mlflow_does(
    searched: tuple[Path, SearchResult],
    tmp_path: Path,
    empty_database: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its record may be lost, and the folder moved."""
    monkeypatch.setattr(store, "_build", lambda path, _: shutil.copy(empty_database, path))
    out = tmp_path / "moved"
    shutil.copytree(searched[0], out)
    before = described(out)
    assert before["params"]["space"] == "size"
    assert before["params"]["trials"] == "2"
    assert before["params"]["recover"] == "4 steps segments=2"
    tuned = [name for name in before["runs"] if "fine-tuned" in name]
    assert sorted(tuned)[1] == "uncompressed, fine-tuned on labels"
    assert before["losses"] == 4
    assert "times smaller" in before["described"].splitlines()[0]
    for name in ("mlflow.db", "mlartifacts"):
        path = out / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    prepare_record(out)
    after = described(out)
    assert after == before
    assert loaded(out).predict(DataFrame({"text": ["a"]})).shape == (1, 2)


def described(out: Path) -> dict[str, Any]:
    """What MLflow says of a search, but for ids and times."""
    client = mlflow.MlflowClient(f"sqlite:///{out / 'mlflow.db'}")
    runs = client.search_runs(["1"])
    (parent,) = (run for run in runs if "autocompress.search" in run.data.tags)
    tuned = next(run for run in runs if "fine-tuned" in run.info.run_name)
    history = client.get_metric_history(tuned.info.run_id, "training_loss")
    assert parent.inputs is not None
    version = client.get_model_version_by_alias("cats_dogs", "best")
    note = parent.data.tags["mlflow.note.content"]
    return {
        "params": parent.data.params,
        "note": re.sub(r"runs/\w+", "runs/ID", note),
        "runs": {run.info.run_name: run.info.status for run in runs},
        "standing": {run.info.run_name: run.data.tags.get("standing") for run in runs},
        "losses": len(history),
        "data": [one.dataset.name for one in parent.inputs.dataset_inputs],
        "version": version.version,
        "described": version.description,
    }


@pytest.mark.parametrize(
    ("name", "expected"), [("ptb-small", "ptb-small"), ("a/b:c", "a_b_c"), ("it's 5%", "it_s 5_")]
)
def test_names_that_mlflow_takes(name: str, expected: str) -> None:
    assert model_name(name) == expected


@contextmanager
def ui(out: Path) -> Iterator[str]:
    """Run `autocompress ui`, and give the one line that it prints."""
    command = [
        sys.executable,
        "-m",
        "autocompress",
        "ui",
        str(out),
        "--port",
        str(free_port(5300)),
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=listen_to_interrupts,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.send_signal(signal.SIGINT)
        more, errors = process.communicate(timeout=60)
        assert more == ""
        assert errors.splitlines() == ["starting MLflow; Ctrl-C ends it"]
        assert process.returncode == 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def page(address: str) -> str:
    """What a browser shows of a page, as HTML, when its scripts are done."""
    assert CHROMIUM is not None
    options = ["--headless=new", "--no-sandbox", "--window-size=1600,1200", "--dump-dom"]
    command = [CHROMIUM, *options, "--virtual-time-budget=90000", address]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=240).stdout


@needs_posix
@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to look with")
def test_the_link_of_ui_shows_trials_and_one_click_shows_charts(
    searched: tuple[Path, SearchResult],
) -> None:
    with ui(searched[0]) as link:
        assert link.startswith("http://127.0.0.1:")
        table = page(link)
        for text in ("trial-0000", "uncompressed", "1 best", "size_MB", "times_smaller"):
            assert text in table
        assert "rise_percent" in table
        charts = page(f"{link}&compareRunsMode=CHART")
        assert "times_smaller vs. perplexity" in charts
        assert "Parallel Coordinates" in charts


@needs_posix
@pytest.mark.slow
def test_a_server_answers_requests(searched: tuple[Path, SearchResult]) -> None:
    port = free_port(5400)
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/cats_dogs@best"]
    command += ["--env-manager", "local", "--port", str(port)]
    tracking = {"MLFLOW_TRACKING_URI": f"sqlite:///{searched[0] / 'mlflow.db'}"}
    # MLflow runs what lies beside the interpreter, as in an active virtual environment.
    path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment = {**os.environ, **tracking, **path}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        answer = asked(port, {"dataframe_records": [{"text": "the cat"}], "params": {"top_k": 2}})
        (row,) = answer["predictions"]
        assert len(row["words"]) == len(row["probabilities"]) == 2
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def asked(port: int, question: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        json.dumps(question).encode(),
        {"Content-Type": "application/json"},
    )
    end = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)
