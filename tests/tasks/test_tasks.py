"""Tasks out of the box: their numbers are what one computes by hand, and a search takes them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import autocompress
from autocompress.errors import TaskError
from autocompress.tasks import Classification, NextToken, Regression

# Raised while MLflow's database models are imported, with SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


class Net(nn.Module):
    """A classifier of eight numbers."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.first, self.second = nn.Linear(8, 32), nn.Linear(32, 3)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.second(self.first(values).relu())
        return scores


def examples(n: int, seed: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(n, 8, generator=generator)
    with torch.no_grad():
        return TensorDataset(values, Net()(values).argmax(1))


def loader(n: int, seed: int, batch: int = 16, *, shuffle: bool = False) -> DataLoader[Any]:
    return DataLoader(examples(n, seed), batch, shuffle=shuffle)


def test_accuracy_over_all_targets_but_negative_ones() -> None:
    values, classes = torch.eye(3).repeat(4, 1), torch.tensor([0, 1, 2] * 4)
    classes[0], classes[1] = 2, -1
    batches = [(values[:5], classes[:5]), (values[5:], classes[5:])]
    task = Classification(batches, batches, batches)
    assert task.evaluate(nn.Identity(), "valid") == pytest.approx(10 / 11)
    assert len(list(task.part_losses(nn.Identity(), "valid"))) == 2
    seen = next(task.calibration_batches())
    assert torch.equal(seen, values[:5])


def test_squared_error_does_not_spread_columns() -> None:
    values = torch.arange(4.0)[:, None]
    task = Regression([(values, torch.zeros(4))], [(values, torch.zeros(4))], [])
    assert task.evaluate(nn.Identity(), "valid") == pytest.approx((0 + 1 + 4 + 9) / 4)
    with pytest.raises(TaskError, match="no targets"):
        task.evaluate(nn.Identity(), "test")


def test_without_test_data_half_of_the_rest_is_held_back() -> None:
    batches = [(torch.eye(2), torch.tensor([0, n % 2])) for n in range(6)]
    task = Classification(batches, batches)
    assert task.evaluate(nn.Identity(), "valid") == 0.5
    assert task.evaluate(nn.Identity(), "test") == 1.0


def test_losses_have_gradients_and_an_order_that_the_seed_decides() -> None:
    task = Classification(loader(64, 1, shuffle=True), loader(32, 2))
    model, teacher = Net(), Net()

    def losses(seed: int, share: float = 0.0) -> list[float]:
        return [loss.item() for loss in task.training_losses(model, teacher, share, seed)]

    assert losses(3) == losses(3) != losses(4)
    assert losses(3, 1.0) == pytest.approx([0] * 4, abs=1e-6)  # the teacher's own predictions
    assert next(task.training_losses(model, teacher, 0.5, 0)).requires_grad


def test_several_inputs_are_given_one_by_one() -> None:
    class Sum(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a + b

    ones = torch.ones(2)
    task = Regression([(ones, ones, 2 * ones)], [(ones, ones, 2 * ones)], [(ones, ones, ones)])
    assert task.evaluate(Sum(), "valid") == 0
    batch = next(task.calibration_batches())
    assert torch.equal(task.forward(Sum(), batch), 2 * ones)


class Tokens(nn.Module):
    """Ids to logits, batch or time first: it looks at each id alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.table = nn.Embedding(10, 10)

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, None]:
        return self.table(ids), None


TEXT = np.random.default_rng(0).integers(10, size=101)


@pytest.mark.parametrize("batch_first", [True, False])
def test_perplexity_of_each_next_token(batch_first: bool) -> None:
    task = NextToken(TEXT, TEXT, TEXT.tolist(), length=20, batch=2, batch_first=batch_first)
    model = Tokens()
    with torch.no_grad():
        logits = model(torch.from_numpy(TEXT[:-1]))[0]
        mean = functional.cross_entropy(logits, torch.from_numpy(TEXT[1:])).item()
    assert task.evaluate(model, "valid") == pytest.approx(math.exp(mean), rel=1e-5)
    assert task.evaluate(model, "test") == task.evaluate(model, "valid")
    shapes = [tuple(batch.shape) for batch in task.calibration_batches()]
    assert shapes[0] == ((2, 20) if batch_first else (20, 2))
    assert sum(math.prod(shape) for shape in shapes) == 100
    losses = list(task.training_losses(model, model, 0.0, 0))
    assert len(losses) == 3
    counts = task.row_frequencies(model)["table.weight"]
    assert counts.sum() == 5 * 21


def test_a_text_file_is_split(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("abcdefghij\n" * 200, encoding="utf-8")
    task = NextToken.of_text(path, lambda text: [ord(c) % 10 for c in text], length=10)
    assert task.describe_data().profile["valid tokens"] == 100
    assert task.evaluate(Tokens(), "test") > 1
    assert task.fingerprint() == NextToken.of_text(path, to_ten, length=10).fingerprint()
    assert task.fingerprint() != NextToken.of_text(path, to_ten, length=11).fingerprint()


def to_ten(text: str) -> list[int]:
    return [ord(character) % 10 for character in text]


BATCHES = [(torch.zeros(1), torch.zeros(1))]
WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "read once": (lambda: Regression(iter(BATCHES), BATCHES), "`train` must be a DataLoader"),
    "a tensor": (lambda: Regression(BATCHES, torch.zeros(3)), "`valid` must be a DataLoader"),
    "inputs alone": (
        lambda: Regression(BATCHES, [torch.zeros(3)]).evaluate(nn.Identity(), "valid"),  # type: ignore[list-item]
        "inputs, targets",
    ),
    "other shapes": (
        lambda: Regression(BATCHES, [(torch.zeros(2), torch.zeros(3))]).evaluate(
            nn.Identity(), "valid"
        ),
        r"shape \(2,\) cannot be compared with targets of shape \(3,\)",
    ),
    "too short": (lambda: NextToken(TEXT, TEXT[:9], TEXT), "`valid` must have more than 64"),
    "no ids": (lambda: NextToken(TEXT / 2, TEXT, TEXT), "`train` must be token ids"),
    "no text": (lambda: NextToken.of_text("nowhere.txt", to_ten), "cannot be read"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_used_is_told(name: str) -> None:
    make, message = WRONG[name]
    with pytest.raises(TaskError, match=message):
        make()


MODULE = """
from torch import nn

def make():
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
"""


def test_five_lines_buy_a_model_that_mlflow_loads(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_module_of_layers.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    model = __import__("my_module_of_layers").make()
    task = Classification(
        loader(64, 1), loader(32, 2), loader(32, 3), model_factory="my_module_of_layers:make"
    )
    result = autocompress.search(model, task, budget="1.5kB", trials=2, out=out, name="my net")
    assert result.best is not None
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{out / 'mlflow.db'}")
    try:
        served = mlflow.pyfunc.load_model("models:/my net@best")
    finally:
        mlflow.set_tracking_uri(before)
    values = examples(5, 4).tensors[0]
    answer = served.predict(values.numpy())
    with torch.no_grad():
        wanted = autocompress.load(result.best.artifact, model)(values)
    assert answer.dtype == np.float32
    assert answer == pytest.approx(wanted.numpy(), abs=1e-6)
    assert served.metadata.signature.inputs.to_dict()[0]["tensor-spec"]["shape"] == (-1, 8)
    requirements = (out / "requirements.txt", *out.rglob("model/requirements.txt"))[-1]
    assert "autocompress==" in requirements.read_text()
    assert not [*out.rglob("*.pkl"), *out.rglob("*.pickle")]
