"""Where models run: what is chosen and refused, and that all of the way stays on one device."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from commands import only_line, run
from elsewhere import ELSEWHERE, There, elsewhere
from torch import nn
from toys import teacher, toy_corpus, toy_model

import autocompress
from autocompress import CompressionPlan, Task
from autocompress.encoding.encoder import uncompressed_plan
from autocompress.errors import DeviceError
from autocompress.knowledge.calibration import Calibration
from autocompress.knowledge.guarded import guarded
from autocompress.layers.copies import copied, on_device
from autocompress.lm import LanguageModeling, load_model, read_corpus
from autocompress.plan import Treatment
from autocompress.precisions import Codebook, EntropyStep
from autocompress.recovery import RecoveryBudget, RecoverySettings, recover
from autocompress.structures import LowRank, Pruned
from autocompress.support.device import chosen_device, device_of, is_on, moved
from autocompress.tasks import Classification, NextToken
from autocompress.trial.evaluator import Evaluator

Cell = type[nn.LSTM] | type[nn.GRU] | type[nn.RNN]
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")


class Named(NamedTuple):
    ids: torch.Tensor
    label: str


@no_gpu
def test_auto_says_what_it_chose(capsys: pytest.CaptureFixture[str]) -> None:
    assert chosen_device("auto") == torch.device("cpu")
    assert capsys.readouterr().err == "running on cpu: no CUDA device is there\n"
    assert chosen_device("cpu") == chosen_device(torch.device("cpu")) == torch.device("cpu")
    assert not capsys.readouterr().err


@pytest.mark.parametrize("name", ["gpu", "", "cuda:", "tpu", "meta", "cpu:-1"])
def test_what_is_no_device_is_refused(name: str) -> None:
    with pytest.raises(DeviceError, match=r"a device is auto, cpu, cuda, cuda:1 or mps"):
        chosen_device(name)


@no_gpu
@pytest.mark.parametrize("name", ["cuda", "cuda:1", "cpu:1"])
def test_a_device_that_is_not_there_is_refused_at_once(name: str) -> None:
    options = ["missing", "--data", "missing", "--budget", "10x", "--device", name]
    line = only_line(run("search", *options, expect=2))
    assert f"device '{name}' is not there: PyTorch" in line
    assert line.endswith("sees cpu on this machine; choose one of these, or auto")
    with pytest.raises(DeviceError):
        autocompress.search(teacher(), Classification([], []), device=name)


def test_batches_keep_their_form() -> None:
    batch = (Named(torch.ones(2), "a"), [torch.ones(1), 3], {"x": torch.ones(3), "y": None})
    assert moved(batch, torch.device("cpu")) is batch
    with elsewhere():
        there = moved(batch, ELSEWHERE)
        assert isinstance(there[0], Named)
        assert there[0].label == "a"
        tensors = (there[0].ids, there[1][0], there[2]["x"])
        assert all(isinstance(tensor, There) for tensor in tensors)
        assert (there[1][1], there[2]["y"]) == (3, None)


class Subject(NamedTuple):
    model: nn.Module
    task: Task


class Tokens(nn.Module):
    """A recurrent layer over ids (batch, time), with a convolution and a normalisation."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 16)
        self.convolution = nn.Conv1d(16, 16, 1)
        self.cell = cell(16, 16)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 30)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        looked_up = self.convolution(self.embedding(ids).mT).mT
        hidden, _ = self.cell(looked_up.transpose(0, 1))
        logits: torch.Tensor = self.head(self.norm(hidden.transpose(0, 1)))
        return logits


class Last(Tokens):
    """Classes, by the last of the ids."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return super().forward(ids)[:, -1]


def made(kind: type[Tokens], cell: Cell) -> Tokens:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind(cell).eval()
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(2)
        return model


def tokens() -> Subject:
    train, valid, test = torch.randint(30, (3, 400), generator=torch.Generator().manual_seed(0))
    task = NextToken(train, valid, test, length=12, batch=8)
    return Subject(made(Tokens, nn.GRU), task)


def labelled() -> Subject:
    ids = torch.randint(30, (240, 8), generator=torch.Generator().manual_seed(0))
    model, judge = made(Last, nn.LSTM), made(Last, nn.RNN)
    batches = [(one, judge(one).argmax(1)) for one in torch.split(ids, 40)]
    return Subject(model, Classification(batches[:3], batches[3:]))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    corpus = toy_corpus(tmp_path_factory.mktemp("corpus") / "toy")
    folder = toy_model(tmp_path_factory.mktemp("model") / "lm", corpus)
    model, vocabulary = load_model(folder)
    return Subject(model, LanguageModeling(read_corpus(corpus, vocabulary)))


@pytest.fixture(
    params=[
        "tokens",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("labelled", "words")),
    ]
)
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "words":
        found: Subject = request.getfixturevalue("words")
        return found
    return labelled() if request.param == "labelled" else tokens()


def fine_tuned(subject: Subject, model: nn.Module, folder: Path) -> tuple[Calibration, float]:
    """Calibrate, measure and fine-tune; check that a file does not know where that was."""
    evaluator = Evaluator.of(model, subject.task)
    treatment = Treatment(structure=LowRank(rank=4), precision=EntropyStep(step=0.02))
    codes = Treatment(structure=Pruned(sparsity=0.3), precision=Codebook(bits=3))
    treatments = dict(uncompressed_plan(evaluator.source).treatments)
    matrices = [one for one in treatments if evaluator.source.members(one)[0].values.ndim == 2]
    treatments |= dict.fromkeys(matrices, treatment) | {matrices[0]: codes}
    plan = CompressionPlan(treatments=treatments)
    settings = RecoverySettings(RecoveryBudget(steps=3), dropout=0.0, segments=2, shrinkage=1.0)
    result = recover(model, guarded(subject.task), evaluator, plan, folder, settings, 0)
    return evaluator.source.calibration, result.values[subject.task.metric]


def test_all_of_the_way_is_on_the_device_of_the_model(subject: Subject, tmp_path: Path) -> None:
    """Without any device nothing may be mixed; with it, nothing differs beyond rounding."""
    model, task = subject
    here, score = fine_tuned(subject, model, tmp_path / "here")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with elsewhere() as device:
        moved_model = copied(model).to(ELSEWHERE)
        assert device_of(moved_model) == ELSEWHERE
        assert is_on(moved_model, ELSEWHERE)
        exact = guarded(task).evaluate(moved_model, "valid")
        assert exact == pytest.approx(guarded(task).evaluate(model, "valid"), rel=1e-5)
        there, tuned = fine_tuned(subject, moved_model, tmp_path / "there")
        assert all(isinstance(tensor, There) for tensor in moved_model.parameters())
        assert device.counts["mm"] + device.counts["addmm"] > 50
    assert tuned == pytest.approx(score, rel=1e-3)
    assert there.curvatures.keys() == here.curvatures.keys()
    for name, one in here.curvatures.items():
        np.testing.assert_allclose(there.curvatures[name].rows, one.rows, rtol=1e-3, atol=1e-9)
        np.testing.assert_allclose(
            there.curvatures[name].moment, one.moment, rtol=1e-3, atol=1e-6 * one.moment.max()
        )
    assert all(torch.equal(model.state_dict()[name], kept) for name, kept in before.items())


def test_what_is_mixed_is_refused_there() -> None:
    """The device of these tests refuses what a GPU refuses; or else they would show nothing."""
    with elsewhere():
        model = teacher().to(ELSEWHERE)
        with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
            model(torch.zeros(1, 8, dtype=torch.int64))
        with pytest.raises(RuntimeError, match="not supported"):
            model.head.weight.detach().numpy()


def test_a_model_is_brought_to_a_device_as_a_copy() -> None:
    model = teacher()
    assert on_device(model, None) is on_device(model, "cpu") is model
