"""Models of one's own on the command line, and checkpoints of other projects."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from platforms import needs_posix
from safetensors.torch import load_file, save_file
from toys import toy_corpus, toy_model

from autocompress.cli import main
from autocompress.lm import load_model

CODE = """
import torch
from torch import nn
import autocompress

X = torch.randn(64, 12, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()

def net():
    return nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 2))

class Good(autocompress.Task):
    metric = "cross_entropy"
    def evaluate(self, model, split):
        with torch.no_grad():
            return nn.functional.cross_entropy(model(X), Y).item()
    def calibration_batches(self):
        yield X

def raises():
    raise LookupError("no such\\nfile")

def number():
    return 3

def needs(a):
    return net()

instance = net()
constant = 3
"""
SPECS = ("--model", "ownpkg.things:net", "--task", "ownpkg.things:Good")


def run(*arguments: object, expect: int = 0) -> Result:
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == expect, result.output
    return result


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current directory with a package of a user's, and a checkpoint of half precision."""
    (tmp_path / "ownpkg").mkdir()
    (tmp_path / "ownpkg" / "things.py").write_text(CODE)
    (tmp_path / "oddfile.py").write_text("import torch\ndef f(:\n")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(12, 24), torch.nn.ReLU(), torch.nn.Linear(24, 2))
    weights = {f"module.{name}": value.half() for name, value in net.state_dict().items()}
    torch.save({"state_dict": weights, "epoch": 1}, tmp_path / "weights.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] in ("ownpkg", "oddfile")]:
        del sys.modules[name]


def test_a_model_of_ones_own_is_searched_shown_and_evaluated(here: Path) -> None:
    options = ("--weights", "weights.pt", "--budget", "1.5kB", "--trials", 2, "--out", "out")
    result = run("search", *SPECS, *options)
    assert "weights.pt: prefix 'module.' taken off the names" in result.stderr
    best = json.loads(run("front", "out", "--json").stdout)["best"]
    assert Path(best["artifact"]).stat().st_size <= 1500
    hint = f"autocompress.load('{Path(best['artifact']).resolve()}', model=net())"
    assert f"load: from ownpkg.things import net; {hint}" in result.stdout
    assert "in single precision" in result.stdout
    assert "in single precision" in (here / "out" / "front.html").read_text()
    assert "in single precision" in (here / "out" / "report.md").read_text()
    document = json.loads((here / "out" / "result.json").read_text())
    assert "in single precision" in document["measure"]

    told = json.loads(run("evaluate", best["artifact"], *SPECS, "--json").stdout)
    assert told["cross_entropy"] == pytest.approx(best["valid_cross_entropy"], rel=1e-6)
    assert "2.weight" in run("inspect", best["artifact"]).stdout
    (here / "valid.txt").write_text("a b\n")
    failed = run("evaluate", best["artifact"], "--data", "valid.txt", expect=1)
    assert "`--model` and `--task`" in failed.stderr


@pytest.mark.slow
def test_processes_import_from_the_current_directory(here: Path) -> None:
    command = [sys.executable, "-m", "autocompress", "search", *SPECS, "--weights", "weights.pt"]
    options = ["--budget", "1.5kB", "--trials", "3", "--jobs", "2", "--out", "out"]
    subprocess.run([*command, *options], check=True, cwd=here)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "ownpkg.things:raises",
            r"raised LookupError: no such file ({here}/ownpkg/things.py, line 21, in raises)",
        ),
        ("oddfile:f", "raised SyntaxError: invalid syntax"),
        ("no.such:f", "raised ModuleNotFoundError: No module named 'no'"),
        ("ownpkg.things:nope", "ownpkg.things has no 'nope'"),
        ("ownpkg.things:number", "returned a int, not an `nn.Module`"),
        (
            "ownpkg.things:needs",
            "must be called without arguments: missing a required argument",
        ),
        ("ownpkg.things:instance", "is a Sequential itself; name a function that returns one"),
        ("ownpkg.things:constant", "is a int, which cannot be called"),
        ("ownpkg.things:Good", "returned a Good, not an `nn.Module`"),
    ],
)
def test_what_makes_no_model_is_said_in_one_line(model: str, message: str, here: Path) -> None:
    result = run("search", "--model", model, *SPECS[2:], "--budget", "1kB", expect=1)
    assert message.replace("{here}", str(here)) in result.stderr
    assert result.stderr.count("\n") == 1


def test_what_makes_no_task_is_said_in_one_line(here: Path) -> None:
    result = run("search", *SPECS[:2], "--task", "ownpkg.things:net", expect=1)
    assert "--task ownpkg.things:net returned a Sequential, not an" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give MODEL, a folder, with --data; or --model with --task"),
        (("folder",), "give --data"),
        (("folder", *SPECS), "not both"),
        ((*SPECS, "--data", "x"), "--data belongs to MODEL"),
        (SPECS[:2], "--model needs --task"),
        (SPECS[2:], "--task needs --model"),
        (("folder", "--data", "x", "--weights", "x"), "--weights needs --model"),
        (("--model", "no colon", "--task", "x"), "takes package.module:factory, got 'no colon'"),
    ],
)
def test_mixtures_are_wrong_usage(options: tuple[str, ...], message: str) -> None:
    assert message in run("search", *options, expect=2).stderr


def test_evaluate_takes_one_kind_of_model() -> None:
    for options in ((), ("--data", "x", *SPECS), SPECS[:2]):
        assert "--model" in run("evaluate", "x.acz", *options, expect=2).stderr


def test_import_makes_a_folder_that_is_searched(tmp_path: Path) -> None:
    corpus = toy_corpus(tmp_path / "data")
    folder = toy_model(tmp_path / "model", corpus)
    weights = load_file(folder / "model.safetensors")
    renamed = {
        k.replace("embedding", "encoder").replace("lstm", "rnn"): v for k, v in weights.items()
    }
    save_file(renamed, tmp_path / "theirs.safetensors")
    out = tmp_path / "ours"
    options = ("--vocab", folder / "vocab.txt", "--out", out, "--data", corpus, "--json")
    document = json.loads(run("import", tmp_path / "theirs.safetensors", *options).stdout)
    assert document["weights"] == sum(value.numel() for value in weights.values())
    assert document["config"]["cell"] == "lstm"
    assert document["valid_perplexity"] < 100
    assert any("encoder.weight read as embedding.weight" in line for line in document["done"])
    model, _ = load_model(out)
    assert torch.equal(model.state_dict()["decoder.weight"], weights["decoder.weight"])
    assert "holds a model already" in run("import", out, *options, expect=1).stderr
    assert "--vocab" in run("import", out, "--out", tmp_path / "new", expect=2).stderr


@needs_posix
def test_export_spares_its_own_input(tmp_path: Path) -> None:
    artifact = tmp_path / "a.acz"
    artifact.write_bytes((Path(__file__).parents[1] / "golden" / "version2.acz").read_bytes())
    before = artifact.read_bytes()
    (tmp_path / "link.acz").symlink_to(artifact)
    for name in ("a.acz", "link.acz"):
        result = run("export", artifact, "--onnx", tmp_path / name, expect=2)
        assert "is ARTIFACT itself; choose another name" in result.stderr
    assert artifact.read_bytes() == before
