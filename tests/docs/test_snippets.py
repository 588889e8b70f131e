"""What README and documents say in Python runs as it stands, on models of this size."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from toys import toy_corpus, toy_model

import autocompress
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import Uniform
from autocompress.structures import Dense

ROOT = Path(__file__).parents[2]
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
TRIALS = 3

# Raised while MLflow's database models are imported, with SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


def snippets(name: str) -> list[str]:
    found = PYTHON.findall((ROOT / name).read_text(encoding="utf-8"))
    assert found
    return list(found)


def run(text: str, names: dict[str, Any]) -> None:
    exec(compile(text, "snippet", "exec"), names)


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a folder of the test's own, with searches of a few trials."""
    monkeypatch.chdir(tmp_path)
    search = autocompress.search

    def briefly(*arguments: Any, **options: Any) -> Any:
        return search(*arguments, **{**options, "trials": TRIALS})

    monkeypatch.setattr(autocompress, "search", briefly)


def own_model() -> nn.Module:
    layers = (nn.Linear(12, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 3))
    return nn.Sequential(*layers)


@pytest.fixture
def of_ones_own() -> dict[str, Any]:
    """A model of one's own and its data, under the names that documents use."""
    torch.manual_seed(0)
    inputs = torch.randn(6000, 12)
    targets = (inputs @ torch.randn(12, 3) + torch.randn(6000, 3)).argmax(dim=1)
    model = own_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(50):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs[:4000]), targets[:4000]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    batches = list(zip(inputs.chunk(6), targets.chunk(6), strict=True))
    names: dict[str, Any] = {"train_loader": batches[:4], "valid_loader": batches[4:5]}
    names |= {"test_loader": batches[5:], "model": model, "my_model": model}
    treatment = Treatment(structure=Dense(), precision=Uniform(bits=8))
    plan = CompressionPlan(treatments=dict.fromkeys(model.state_dict(), treatment))
    return {**names, "MyModel": own_model, "plan": plan}


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_what_the_readme_says_runs(of_ones_own: dict[str, Any]) -> None:
    for text in snippets("README.md"):
        run(text, of_ones_own)
    assert of_ones_own["result"].best is not None
    assert isinstance(of_ones_own["small"], nn.Sequential)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_what_the_page_on_own_models_says_runs(of_ones_own: dict[str, Any]) -> None:
    toy_model(Path("MODEL"), toy_corpus(Path("DATA")))
    tensors = of_ones_own["my_model"].state_dict()
    torch.save(tensors, "checkpoint.pt")
    Path("checkpoint").mkdir()
    save_file(tensors, "checkpoint/model.safetensors")
    for text in snippets("docs/own-models.md"):
        run(text, of_ones_own)
    assert set(of_ones_own["tensors"]) == of_ones_own["my_model"].state_dict().keys()
    assert autocompress.open_search("runs/few-bits").best is not None


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_what_the_page_on_mlflow_says_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    toy_model(Path("MODEL"), toy_corpus(Path("DATA")))
    run(snippets("docs/own-models.md")[0], {})
    name = autocompress.open_search("RUN").name
    for text in snippets("docs/mlflow.md"):
        run(text.replace("NAME", name), {})


def documented() -> Iterator[tuple[str, str]]:
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for text in PYTHON.findall(path.read_text(encoding="utf-8")):
            yield path.name, text


@pytest.mark.parametrize(("document", "text"), list(documented()), ids=lambda one: one[:20])
def test_a_snippet_names_what_there_is(document: str, text: str) -> None:
    compile(text, document, "exec")
    for name in re.findall(r"\bautocompress\.(\w+)", text):
        assert name in (*autocompress.__all__, "tasks", "lm"), name
    for line in re.findall(r"^from autocompress.*$", text, re.MULTILINE):
        run(line, {})


def test_no_page_with_python_is_forgotten() -> None:
    fragments = {"devices.md"}  # of a class of one's own: nothing that runs by itself
    run_above = {"README.md", "own-models.md", "mlflow.md"}
    assert {name for name, _ in documented()} == run_above | fragments
