"""What errors in a weight cost, measured by gradients."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from toys import Classification, Classifier

from autocompress.knowledge.curvature import measure_curvatures
from autocompress.knowledge.task import Task
from autocompress.lm import LanguageModel, LanguageModelConfig
from autocompress.outcome.objectives import Split

WORDS, WIDTH = 50, 8


class Predicting(Task):
    """Next words at random, skewed; one batch as often as it is asked."""

    metric = "loss"

    def __init__(self) -> None:
        odds = 1 / np.arange(1, WORDS + 1)
        words = np.random.default_rng(0).choice(WORDS, size=(21, 30), p=odds / odds.sum())
        self.words = torch.from_numpy(words)

    def evaluate(self, model: nn.Module, split: Split) -> float:
        return 0.0

    def calibration_batches(self) -> Iterator[Any]:
        yield self.words

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[torch.Tensor]:
        while True:
            logits, _ = model(self.words[:-1])
            yield functional.cross_entropy(logits.flatten(0, 1), self.words[1:].flatten())


def language_model(cell: str = "lstm", **changes: Any) -> LanguageModel:
    torch.manual_seed(0)
    config = LanguageModelConfig(
        cell=cell, vocab_size=WORDS, embedding_size=WIDTH, hidden_size=WIDTH, **changes
    )
    return LanguageModel(config).eval()


def counts() -> NDArray[np.float64]:
    return np.bincount(Predicting().words[:-1].numpy().ravel(), minlength=WORDS).astype(float)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_every_matrix_of_a_language_model_is_measured(cell: str) -> None:
    model = language_model(cell)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = measure_curvatures(model, Predicting(), {})
    assert set(found) == {name for name in before if "weight" in name}
    for name, curvature in found.items():
        rows, cols = before[name].shape
        assert curvature.rows.shape == (rows,)
        assert (curvature.rows > 0).all()
        assert curvature.moment.shape == (cols, cols)
        assert np.linalg.eigvalsh(curvature.moment).min() > -1e-9
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())


def test_output_rows_are_as_sensitive_as_predictions_are_wrong() -> None:
    model, task = language_model(), Predicting()
    found = measure_curvatures(model, task, {})["decoder.weight"]
    with torch.no_grad():
        hidden = model.get_submodule("lstm")(model.embedding(task.words[:-1]))[0].flatten(0, 1)
        wrong = model.decoder(hidden).softmax(-1)
        wrong[torch.arange(len(wrong)), task.words[1:].flatten()] -= 1
    inputs = (hidden.T @ hidden / len(hidden)).double().numpy()
    rows = wrong.square().mean(dim=0).double().numpy()
    energy = found.rows[:, None, None] * found.moment
    np.testing.assert_allclose(energy, rows[:, None, None] * inputs, rtol=1e-3, atol=1e-9)


def test_embedding_rows_count_as_often_as_they_are_used() -> None:
    found = measure_curvatures(language_model(), Predicting(), {})["embedding.weight"]
    used = 64 * counts() + 1
    np.testing.assert_allclose(found.rows / found.rows.sum(), used / used.sum())


def test_recurrent_moments_are_those_of_the_states() -> None:
    model, task = language_model(num_layers=1), Predicting()
    found = measure_curvatures(model, task, {})["lstm.weight_hh_l0"]
    with torch.no_grad():
        states = model.get_submodule("lstm")(model.embedding(task.words[:-1]))[0]
    states = torch.cat([torch.zeros_like(states[:1]), states[:-1]]).flatten(0, 1)
    moment = (states.T @ states / len(states)).double().numpy()
    scale = np.trace(found.moment) / np.trace(moment)
    np.testing.assert_allclose(found.moment, scale * moment, rtol=1e-3, atol=1e-9)


def test_a_tied_weight_pays_for_both_of_its_uses() -> None:
    tied = language_model(tied=True)
    apart = language_model()
    with torch.no_grad():
        apart.load_state_dict(tied.state_dict())
    both = measure_curvatures(tied, Predicting(), {})
    single = measure_curvatures(apart, Predicting(), {})
    assert "decoder.weight" not in both

    def total(name: str, found: Mapping[str, Any]) -> float:
        return float(found[name].rows.sum() * np.trace(found[name].moment))

    parts = total("embedding.weight", single) + total("decoder.weight", single)
    assert total("embedding.weight", both) == pytest.approx(parts, rel=0.01)


def test_known_frequencies_steady_rows_that_are_rarely_seen() -> None:
    frequencies = np.where(np.arange(WORDS) < 10, 1e6, 1.0)
    plain = measure_curvatures(language_model(), Predicting(), {})["decoder.weight"]
    steadied = measure_curvatures(language_model(), Predicting(), {"decoder.weight": frequencies})[
        "decoder.weight"
    ]
    rare = steadied.rows[10:] / plain.rows[10:]
    assert rare.max() < 1
    assert np.ptp(np.log(steadied.rows[10:])) < np.ptp(np.log(plain.rows[10:]))


def test_without_losses_or_gradients_nothing_is_known() -> None:
    class Silent(Classification):
        def training_losses(
            self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
        ) -> Iterator[torch.Tensor]:
            return iter(())

    assert measure_curvatures(Classifier(), Silent(), {}) == {}
    # Compared with itself, a model is without fault, and so without gradients.
    assert measure_curvatures(Classifier(), Classification(), {}) == {}


class Own(nn.Module):
    """Multiplies by three parameters, in ways that may be written in several forms."""

    def __init__(self, form: str) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.form = form
        first, second = (torch.randn(6, 4, generator=generator) for _ in range(2))
        self.first = nn.Parameter(first)
        self.second = nn.Parameter(second.mT.contiguous() if form == "turned" else second)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.form == "linear":
            return functional.linear(functional.linear(x, self.first).tanh(), self.second.mT)
        if self.form == "turned":
            return functional.linear((x @ self.first.T).tanh(), self.second)
        hidden = torch.matmul(x, self.first.transpose(0, 1)).tanh()
        if self.form == "addmm":
            return torch.addmm(torch.zeros(4), hidden, self.second)
        return hidden @ self.second


def test_products_of_matrices_are_seen_from_either_side() -> None:
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(1))

    class Squares(Predicting):
        def training_losses(
            self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
        ) -> Iterator[torch.Tensor]:
            yield model(x).square().sum(dim=1).mean()

    found = {
        form: measure_curvatures(Own(form), Squares(), {})
        for form in ("linear", "turned", "matmul", "addmm")
    }
    for form in ("turned", "matmul", "addmm"):
        for key in ("rows", "moment"):
            ours, expected = (getattr(found[one]["first"], key) for one in (form, "linear"))
            np.testing.assert_allclose(ours, expected, rtol=1e-5)
    assert "second" not in found["linear"]  # a view, by a function that takes it for a weight
    hidden = (x @ Own("matmul").first.detach().T).tanh()
    turned, across = found["turned"]["second"], found["matmul"]["second"]
    squares = hidden.square().mean(dim=0).numpy()
    np.testing.assert_allclose(across.rows / across.rows.sum(), squares / squares.sum(), rtol=1e-4)
    np.testing.assert_allclose(
        across.rows.sum() * np.trace(across.moment),
        turned.rows.sum() * np.trace(turned.moment),
        rtol=1e-4,
    )


class Convolved(nn.Module):
    """Convolutions without biases, changed in place, whose gradients are summed over positions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3, bias=False)
        self.second = nn.ConvTranspose2d(3, 2, 2, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.second(functional.relu(self.first(x), inplace=True))
        return states.mean(dim=(2, 3))


def test_errors_in_a_convolution_cost_what_they_amount_to_over_all_positions() -> None:
    torch.manual_seed(0)
    model = Convolved()
    x, y = torch.randn(12, 1, 6, 6) + 5, torch.randint(2, (12,))

    class Classes(Predicting):
        def training_losses(
            self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
        ) -> Iterator[torch.Tensor]:
            yield functional.cross_entropy(model(x), y)

    found = measure_curvatures(model, Classes(), {})
    assert set(found) == {"first.weight", "second.weight"}
    for name, curvature in found.items():
        weight = model.get_parameter(name)
        each = [
            torch.autograd.grad(functional.cross_entropy(model(a[None]), b[None]), weight)[0]
            for a, b in zip(x, y, strict=True)
        ]
        rows = torch.stack(each).flatten(2).square().sum(dim=2).mean(dim=0)
        amounts = curvature.rows * np.trace(curvature.moment)
        np.testing.assert_allclose(amounts, rows.numpy(), rtol=1e-4, atol=1e-5 * amounts.max())
