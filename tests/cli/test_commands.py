"""Commands: exit codes, one-line errors, results on stdout, progress apart.

What may differ in a process of its own is run as one; the rest is not, since each would spend
seconds on imports.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from commands import Done, listen_to_interrupts, only_line, run, run_alone
from platforms import needs_posix
from safetensors.torch import load_file, save_file
from strategies import write_mixed
from toys import toy_model, write_corpus

from autocompress.recovery import RecoveryBudget, RecoverySettings
from autocompress.searching.folder import SearchFolder
from autocompress.tracking.server import free_port

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_help_lists_the_commands() -> None:
    output = run_alone("--help").stdout
    commands = ["demo", "train", "search", "evaluate", "inspect", "front", "ui", "reproduce"]
    for command in (*commands, "export", "predict", "generate", "compress", "plan", "compare"):
        assert re.search(rf"^  {command} ", output, re.MULTILINE)


def test_help_and_import_load_nothing_heavy() -> None:
    code = (
        "import sys, autocompress, autocompress.cli\n"
        "heavy = {'torch', 'mlflow', 'optuna', 'pandas', 'matplotlib', 'numpy', 'onnx'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_search_prints_one_json_document(searched: tuple[Path, Done]) -> None:
    document = json.loads(searched[1].stdout)
    assert document["trials"] == 12
    assert document["seconds"] > 0
    assert {"size_bytes", "valid_perplexity", "test_perplexity"} <= set(document["baseline"])
    best = document["best"]
    assert {"trial", "artifact", "size_bytes", "valid_perplexity", "test_perplexity"} <= set(best)
    assert best["size_bytes"] == Path(best["artifact"]).stat().st_size <= 8000
    assert best in document["front"]


def test_search_reports_progress_on_stderr(searched: tuple[Path, Done]) -> None:
    assert "trials: 12/12" in searched[1].stderr


def test_search_leaves_pictures_and_runs(searched: tuple[Path, Done]) -> None:
    names = {path.name for path in searched[0].iterdir()}
    assert {"front.csv", "front.png", "front.html", "mlflow.db", "result.json"} <= names
    assert {"report.md", "progress.png"} <= names
    (front,) = searched[0].glob("mlartifacts/**/front.png")
    assert {"report.md", "progress.png"} <= {path.name for path in front.parent.iterdir()}
    assert len(list(searched[0].glob("mlartifacts/**/weights.png"))) == 12


@pytest.mark.parametrize("split", ["valid", "test"])
def test_evaluate_agrees_with_the_search(
    split: str, searched: tuple[Path, Done], corpus: Path
) -> None:
    best = json.loads(searched[1].stdout)["best"]
    options = ["--data", corpus, "--split", split, "--json"]
    document = json.loads(run_alone("evaluate", best["artifact"], *options).stdout)
    assert document["perplexity"] == pytest.approx(best[f"{split}_perplexity"], rel=1e-9)
    assert document["size_bytes"] == best["size_bytes"]
    assert document["split"] == split
    assert document["tokens"] == 600  # sixty sentences of nine words and an end


def test_inspect_accounts_for_every_byte(searched: tuple[Path, Done]) -> None:
    best = json.loads(searched[1].stdout)["best"]
    document = json.loads(run("inspect", best["artifact"], "--json").stdout)
    assert sum(document["parts"].values()) == best["size_bytes"]
    weights = sum(line["size_bytes"] for line in document["weights"])
    assert weights == pytest.approx(document["parts"]["weights"])
    assert "embedding.weight" in run("inspect", best["artifact"]).stdout


def test_front_shows_the_same_as_the_search(searched: tuple[Path, Done]) -> None:
    shown = json.loads(run("front", searched[0], "--json").stdout)
    assert shown["front"] == json.loads(searched[1].stdout)["front"]
    assert "best" in run("front", searched[0]).stdout


def test_the_same_search_again_returns_at_once(
    searched: tuple[Path, Done], corpus: Path, model: Path
) -> None:
    options = ["--budget", "8kB", "--trials", "12", "--out", searched[0], "--json"]
    again = run_alone("search", model, "--data", corpus, *options)
    assert json.loads(again.stdout)["front"] == json.loads(searched[1].stdout)["front"]
    assert "trials: " not in again.stderr


@pytest.mark.parametrize("shape", [{"cell": "gru"}, {"cell": "rnn", "tied": True}])
def test_other_models_are_searched_too(
    shape: dict[str, object], corpus: Path, tmp_path: Path, out: Path
) -> None:
    folder = toy_model(tmp_path / "model", corpus, **shape)
    done = run("search", folder, "--data", corpus, "--trials", 3, "--out", out, "--json")
    assert json.loads(done.stdout)["best"]


def test_train_makes_a_model_that_search_takes(corpus: Path, tmp_path: Path) -> None:
    # The preset's text must fill 20 columns; a toy corpus is enough for that.
    done = run("train", "--data", corpus, "--preset", "small", "--out", tmp_path / "lm")
    assert done.stdout.strip() == str(tmp_path / "lm")
    assert {"model.safetensors", "config.json", "vocab.txt"} <= {
        path.name for path in (tmp_path / "lm").iterdir()
    }


def test_missing_model(corpus: Path, tmp_path: Path) -> None:
    done = run_alone("search", tmp_path / "nowhere", "--data", corpus, expect=1)
    assert "nowhere" in only_line(done)


def test_missing_corpus(model: Path, tmp_path: Path) -> None:
    done = run("search", model, "--data", tmp_path / "nowhere", expect=1)
    assert "nowhere" in only_line(done)


def test_truncated_artifact(searched: tuple[Path, Done], corpus: Path, tmp_path: Path) -> None:
    source = Path(json.loads(searched[1].stdout)["best"]["artifact"])
    broken = tmp_path / "broken.acz"
    broken.write_bytes(source.read_bytes()[:3000])
    for command in (["evaluate", broken, "--data", corpus], ["inspect", broken]):
        assert "broken.acz" in only_line(run(*command, expect=1))


def test_unknown_words_without_a_replacement(corpus: Path, tmp_path: Path) -> None:
    known = ["red green blue"] * 60
    plain = tmp_path / "plain"
    plain.mkdir()
    for split in ("train", "valid", "test"):
        (plain / f"{split}.txt").write_text("\n".join(known) + "\n", encoding="utf-8")
    folder = toy_model(tmp_path / "model", plain)
    message = only_line(run("search", folder, "--data", corpus, expect=1))
    assert "<unk>" in message
    assert "word" in message


@pytest.mark.slow
def test_a_budget_that_nothing_meets(corpus: Path, model: Path, out: Path) -> None:
    options = ["--data", corpus, "--budget", "1.7kB", "--out", out]
    done = run_alone("search", model, *options, expect=3)
    assert "smallest" in done.stdout
    document = json.loads(run("search", model, *options, "--json", expect=3).stdout)
    assert document["best"] is None
    assert document["smallest_bytes"] > 1700


def test_an_unknown_key_in_a_space(corpus: Path, model: Path, tmp_path: Path) -> None:
    space = tmp_path / "space.toml"
    space.write_text(
        'description = "x"\n[[rules]]\nname = "all"\nstructures = [{ kind = "dense", sise = 1 }]\n'
        'precisions = [{ kind = "float16" }]\n',
        encoding="utf-8",
    )
    done = run("search", model, "--data", corpus, "--space", space, expect=1)
    assert "rules.0.structures.0.dense.sise" in only_line(done)


def test_nan_in_a_weight(corpus: Path, model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    tensors = load_file(broken / "model.safetensors")
    tensors["decoder.weight"][1, 1] = float("nan")
    save_file(tensors, broken / "model.safetensors")
    done = run("search", broken, "--data", corpus, expect=1)
    assert "decoder.weight" in only_line(done)


@needs_posix
def test_an_output_that_cannot_be_written(corpus: Path, model: Path) -> None:
    # /proc refuses new folders to every user, root included.
    done = run("search", model, "--data", corpus, "--out", "/proc/search", expect=1)
    assert "/proc/search" in only_line(done)


@pytest.mark.parametrize("budget", ["much", "-2MB", "0"])
def test_a_budget_that_is_none(budget: str, corpus: Path, model: Path) -> None:
    done = run("search", model, "--data", corpus, f"--budget={budget}", expect=2)
    assert budget in only_line(done)


def test_wrong_usage_exits_with_2(model: Path, tmp_path: Path) -> None:
    run("search", model, expect=2)
    run("search", model, "--data", tmp_path, "--trials", 0, expect=2)
    run("evaluate", model, "--split", "train", expect=2)
    run("nonsense", expect=2)


def test_front_and_ui_need_a_search(tmp_path: Path) -> None:
    assert "holds no search" in only_line(run("front", tmp_path, expect=1))
    assert "holds no search" in only_line(run("ui", tmp_path, expect=1))
    assert "holds no search" in only_line(run("ui", tmp_path / "nowhere", expect=1))


def test_ui_refuses_a_port_that_is_taken(searched: tuple[Path, Done]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        line = only_line(run("ui", searched[0], "--port", port, expect=1))
        assert f"port {port} cannot be used (Address already in use)" in line
        assert free_port(port) != port


PLACES = ("| head -1", "> /dev/full", ">&-", "2>&-", "2> /dev/full", "</dev/null | cat")


@needs_posix
@pytest.mark.parametrize("place", PLACES)
def test_output_may_go_nowhere(place: str, searched: tuple[Path, Done]) -> None:
    command = f"{sys.executable} -m autocompress front '{searched[0]}' {place}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "defect" not in done.stderr


@pytest.mark.parametrize(
    "variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"COLUMNS": "0"}, {"LC_ALL": "C"}]
)
def test_output_fits_any_terminal(
    variables: dict[str, str], searched: tuple[Path, Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    assert "best" in run("front", searched[0]).stdout


def test_each_unexpected_error_has_a_log_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defective(*_: object) -> None:
        raise RuntimeError("no reason\nat all")

    monkeypatch.setattr("autocompress.searching.summary.summary", defective)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lines = [only_line(run("front", tmp_path, expect=1)) for _ in range(2)]
    logs = [Path(line.rpartition("details in ")[2].rstrip(")")) for line in lines]
    assert lines[0] != lines[1]
    assert all("RuntimeError: no reason" in log.read_text(encoding="utf-8") for log in logs)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    assert "details cannot be written" in only_line(run("front", tmp_path, expect=1))


@needs_posix
@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGINT", pytest.param("SIGTERM", marks=pytest.mark.exhaustive)])
def test_a_stopped_ui_leaves_no_server(
    how: str, searched: tuple[Path, Done], tmp_path: Path
) -> None:
    out = tmp_path / "100 % # moved"
    shutil.copytree(searched[0], out)
    (out / "mlflow.db").unlink()  # made anew
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    process = start(["ui", out, "--port", address[1]])
    try:
        wait_until(lambda: answers(address), "the server does not start")
        process.send_signal(signal.Signals[how])
        process.communicate(timeout=60)
        assert process.returncode == 0
        wait_until(lambda: not answers(address), "the server is still there")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def answers(address: tuple[str, int]) -> bool:
    with socket.socket() as client:
        return client.connect_ex(address) == 0


def start(arguments: Sequence[object]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "autocompress", *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=listen_to_interrupts,
    )


def wait_for_trials(out: Path, count: int) -> None:
    trials = "trials/[0-9]*/trial.json"
    wait_until(lambda: len(list(out.glob(trials))) >= count, "the search makes no progress")


def wait_until(holds: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.02)


@needs_posix
@pytest.mark.parametrize(
    ("how", "code", "jobs"),
    [
        pytest.param("SIGINT", 130, 1, marks=pytest.mark.slow),
        pytest.param("SIGKILL", -9, 1, marks=pytest.mark.slow),
        pytest.param("SIGINT", 130, 2, marks=pytest.mark.slow),
        pytest.param("SIGTERM", 143, 1, marks=pytest.mark.exhaustive),
        pytest.param("SIGHUP", 129, 2, marks=pytest.mark.exhaustive),
    ],
)
def test_a_stopped_search_continues(
    how: str, code: int, jobs: int, corpus: Path, model: Path, out: Path
) -> None:
    from mlflow.tracking import MlflowClient

    trials = 20
    options = ["search", model, "--data", corpus, "--trials", trials, "--out", out, "--json"]
    options += ["--jobs", jobs]
    process = start(options)
    wait_for_trials(out, 5)
    os.killpg(process.pid, signal.Signals[how])
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in errors
    if how != "SIGKILL":
        assert errors.rstrip().endswith("the same command continues where this one was")
    before = {trial.number: trial.to_json() for trial in SearchFolder(out).trials()}
    assert 5 <= len(before) < trials

    document = json.loads(run_alone(*options).stdout)
    after = {trial.number: trial.to_json() for trial in SearchFolder(out).trials()}
    # What was given up before it was encoded has no file.
    assert document["trials"] == len(after) + document["without_file"] == trials
    assert {number: after[number] for number in before} == before
    plans = [json.dumps(trial["plan"]) for trial in after.values()]
    assert len(set(plans)) == len(plans)

    client = MlflowClient(f"sqlite:///{out / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("autocompress")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert not [run for run in runs if run.info.status == "RUNNING"]
    whole = [run for run in runs if run.info.status in ("FINISHED", "FAILED")]
    numbers = [run.data.tags.get("autocompress.trial") for run in whole]
    logged = sorted(int(number) for number in numbers if number is not None)
    assert len(set(logged)) == len(logged) == trials
    assert set(logged) >= set(after)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dropout", "0.3"], "--dropout needs --tune or --recover"),
        (["--distillation", "0.3"], "--distillation needs --recover"),
        (["--distillation", "0.3", "--tune", "2m"], "--distillation needs --recover"),
        (["--teacher", "MODEL"], "--teacher needs --tune or --recover"),
    ],
)
def test_options_of_fine_tuning_need_it(
    options: list[str], message: str, model: Path, corpus: Path
) -> None:
    given = [str(model) if option == "MODEL" else option for option in options]
    done = run("search", model, "--data", corpus, *given, expect=2)
    assert message in done.stderr


def test_a_teacher_of_other_words_is_refused(model: Path, corpus: Path, tmp_path: Path) -> None:
    words = [f"word{number} word{number + 1}" for number in range(40)]
    other = write_corpus(tmp_path / "data", {"train": words, "valid": words, "test": words})
    teacher = toy_model(tmp_path / "teacher", other)
    options = ["--data", corpus, "--tune", "2steps", "--teacher", teacher]
    done = run("search", model, *options, "--out", tmp_path / "out", expect=1)
    assert "a teacher must have the vocabulary of the model, word by word" in only_line(done)
    assert not (tmp_path / "out").exists()


def test_a_search_tunes_without_labels_towards_a_larger_teacher(
    model: Path, corpus: Path, out: Path, tmp_path: Path
) -> None:
    teacher = toy_model(tmp_path / "teacher", corpus, embedding_size=24, hidden_size=24)
    options = ["--data", corpus, "--budget", "8kB", "--trials", "1", "--out", out]
    options += ["--tune", "2steps", "--teacher", teacher]
    done = run_alone("search", model, *options)
    first, _, rest = done.stdout.partition("tuned without labels:\n")
    assert "uncompressed" not in first
    assert "\nuncompressed" in rest
    assert "\nbest without retraining: trial " in rest
    assert "\nbest tuned without labels: trial " in rest
    assert "tuning without labels the uncompressed model, as control: 2 steps" in done.stderr
    (tuned,) = json.loads((out / "result.json").read_text(encoding="utf-8"))["tuned"]
    assert tuned["track"] == "tuned"
    assert tuned["how"].startswith("2 steps teacher=")
    evaluated = run("evaluate", tuned["artifact"], "--data", corpus, "--json")
    perplexity = json.loads(evaluated.stdout)["perplexity"]
    assert perplexity == pytest.approx(tuned["valid_perplexity"], rel=1e-12)


def test_dropout_out_of_range_is_told_before_any_work(
    model: Path, corpus: Path, tmp_path: Path
) -> None:
    options = [
        "--data",
        corpus,
        "--recover",
        "5steps",
        "--dropout",
        "1.5",
        "--out",
        tmp_path / "o",
    ]
    line = only_line(run("search", model, *options, expect=2))
    assert "0 <= dropout < 1" in line
    assert not (tmp_path / "o").exists()


def test_the_papers_pipeline_from_search_to_recovery(model: Path, corpus: Path, out: Path) -> None:
    options = ["--data", corpus, "--space", "papers", "--trials", "4", "--recover", "40steps"]
    done = run("search", model, *options, "--out", out, "--json")
    found = json.loads(done.stdout)
    recovered = found["recovered"][0]
    settings = RecoverySettings(RecoveryBudget(steps=40), pipeline=True)
    assert Path(recovered["artifact"]).parent.name == f"recovered-{settings.key}"
    evaluated = run("evaluate", recovered["artifact"], "--data", corpus, "--json")
    perplexity = json.loads(evaluated.stdout)["perplexity"]
    assert perplexity == pytest.approx(recovered["valid_perplexity"], rel=1e-12)
    assert perplexity < min(one["valid_perplexity"] for one in found["front"])
    assert found["best"] == recovered


@pytest.mark.slow
def test_reproduce_prints_both_tables_and_continues(tmp_path: Path) -> None:
    words = [f"word{number}" for number in range(400)]
    lines = [" ".join(words[first : first + 10]) for first in range(0, 400, 10)]
    texts = {"train": lines * 10, "valid": lines[:9], "test": lines[9:18]}
    corpus = write_corpus(tmp_path / "words", texts)
    model = toy_model(tmp_path / "toy", corpus, embedding_size=24, hidden_size=24)
    options = ["--model", model, "--data", corpus, "--out", tmp_path / "out", "--quick"]
    done = run("reproduce", *options)
    for text in ("without retraining", "with recovery", "8-bit quantization", "GroupReduce 6.6x"):
        assert text in done.stdout
    assert (tmp_path / "out" / "table-quick.md").read_text(encoding="utf-8").count("| 8-bit") == 2
    document = json.loads(run("reproduce", *options, "--json").stdout)
    assert len(document["rows"]) == 10


def test_reproduce_refuses_a_model_too_small_for_a_row(
    model: Path, corpus: Path, tmp_path: Path
) -> None:
    options = ["--model", model, "--data", corpus, "--out", tmp_path / "out"]
    line = only_line(run("reproduce", *options, expect=1))
    assert "group" in line
    assert "does not fit" in line


def test_export_writes_a_model_that_agrees(searched: tuple[Path, Done], tmp_path: Path) -> None:
    best, onnx = json.loads(searched[1].stdout)["best"], tmp_path / "out.onnx"
    document = json.loads(run("export", best["artifact"], "--onnx", onnx, "--json").stdout)
    assert document["onnx_bytes"] == onnx.stat().st_size
    assert document["artifact_bytes"] == best["size_bytes"]
    assert abs(document["perplexity"]["rise"]) < 0.0005
    shown = run("export", best["artifact"], "--onnx", onnx, "--runtime", "int8", "--top-k", "3")
    assert "in ONNX Runtime" in shown.stdout
    assert onnx.stat().st_size < document["onnx_bytes"]


def test_exported_models_are_measured_without_this_package(
    searched: tuple[Path, Done], corpus: Path, tmp_path: Path
) -> None:
    best, script = json.loads(searched[1].stdout)["best"], EXAMPLES / "measure_onnx.py"
    int8, exact = tmp_path / "int8.onnx", tmp_path / "exact.onnx"
    run("export", best["artifact"], "--onnx", int8, "--runtime", "int8")
    run("export", best["artifact"], "--onnx", exact)
    command = [sys.executable, *map(str, (script, int8, exact, corpus / "valid.txt"))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    document = json.loads(done.stdout)
    assert document["words"] == 600
    assert document["onnx_bytes"] == [int8.stat().st_size, exact.stat().st_size]
    assert document["perplexity"][1] == pytest.approx(best["valid_perplexity"], rel=0.02)


def test_predict_and_generate_run_the_model(searched: tuple[Path, Done]) -> None:
    artifact = json.loads(searched[1].stdout)["best"]["artifact"]
    done = run("predict", artifact, "word1 word2 and", "--top-k", "4", "--json")
    words = json.loads(done.stdout)["words"]
    shares = [one["probability"] for one in words]
    assert len(words) == 4
    assert shares == sorted(shares, reverse=True)
    texts = [
        json.loads(run("generate", artifact, "--words", "9", "--seed", seed, "--json").stdout)
        for seed in (1, 1, 2)
    ]
    assert texts[0]["text"] == texts[1]["text"] != texts[2]["text"]
    assert len(texts[0]["text"].split()) == 9
    assert "<unk>" not in texts[0]["text"]
    assert "words per second" in run("generate", artifact, "--prompt", "word3").stderr


def test_export_refuses_what_is_no_language_model(tmp_path: Path) -> None:
    artifact = write_mixed(tmp_path / "mixed.acz")
    line = only_line(run("export", artifact, "--onnx", tmp_path / "m.onnx", expect=1))
    assert "holds no language model" in line
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("budget", ["0.25", "0x", "fast", "1s"])
def test_a_latency_budget_is_understood_before_anything_is_read(budget: str) -> None:
    options = ["--data", "missing", "--latency-budget", budget]
    assert "a latency budget is" in only_line(run("search", "missing", *options, expect=2))
