"""What is trained is a copy of the user's own class; what must not be trained stays."""

from typing import Any

import pytest
import torch
from brought import Snapshot, brought
from torch import nn

from autocompress.encoding.encoder import uncompressed_plan
from autocompress.errors import ModelError
from autocompress.knowledge.calibration import Calibration
from autocompress.knowledge.source import Source
from autocompress.knowledge.weights import ModelWeights
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import EntropyStep
from autocompress.recovery.represented import Represented
from autocompress.structures import Dense

COARSE = Treatment(structure=Dense(), precision=EntropyStep(step=0.5))


class Normed(nn.Module):
    """A frozen layer, and statistics that training mode moves."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(6, 8)
        self.frozen.requires_grad_(False)
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 3)
        self.register_buffer("mask", torch.tensor([0.0, 1.0, 1.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.norm(self.frozen(x))) * self.mask
        return scores


def represented(model: nn.Module, treatment: Treatment) -> Represented:
    source = Source(ModelWeights.of(model), Calibration({}, ()))
    treatments = dict(uncompressed_plan(source).treatments)
    matrices = (name for name, weight in source.weights.weights.items() if weight.values.ndim > 1)
    return Represented(
        model, source, CompressionPlan(treatments=treatments | dict.fromkeys(matrices, treatment))
    )


def train(found: Represented, steps: int = 3) -> None:
    optimizer = torch.optim.Adam(found.latents, lr=0.1)
    for step in range(steps):
        optimizer.zero_grad()
        found.refresh()
        x = torch.randn(5, 6, generator=torch.Generator().manual_seed(step))
        torch.autograd.backward(found.model.train()(x).square().sum())
        optimizer.step()
    found.refresh()


def test_frozen_weights_stay_as_the_plan_says_and_buffers_as_they_are() -> None:
    torch.manual_seed(0)
    model = Normed()
    found = represented(model, COARSE)
    before = {name: tensor.detach().clone() for name, tensor in found.model.state_dict().items()}
    stored = {name: factors["weight"].values.copy() for name, factors in found.factors().items()}
    train(found)
    found.widen_steps(1.0)
    after, again = found.model.state_dict(), found.factors()
    for name in ("frozen.weight", "frozen.bias"):
        assert torch.equal(before[name], after[name])
        assert (again[name]["weight"].values == stored[name]).all()
        assert found.plan.treatments[name] == COARSE or name == "frozen.bias"
    for name, buffer in model.named_buffers():  # no weights, and so exactly as they were
        assert torch.equal(before[name], after[name])
        assert torch.equal(buffer, after[name])
        assert name not in again
    for name in ("head.weight", "norm.weight"):
        assert not torch.equal(before[name], after[name])
    assert found.plan.treatments["head.weight"].precision == EntropyStep(step=1.0)


def test_a_model_of_which_nothing_may_be_trained_is_refused() -> None:
    model = nn.Linear(3, 4).requires_grad_(False)
    with pytest.raises(ModelError, match="has none; call"):
        represented(model, COARSE)


def test_a_model_that_cannot_be_copied_is_refused() -> None:
    class Stubborn(nn.Linear):
        def __deepcopy__(self, memo: object) -> None:
            raise TypeError("no copies")

    with pytest.raises(ModelError, match="TypeError: no copies"):
        represented(Stubborn(3, 4), COARSE)


def test_methods_attributes_and_parameters_are_the_users() -> None:
    model, task = brought("stateful")
    before = Snapshot.of(model)
    found = represented(model, COARSE)
    assert type(found.model) is type(model)
    twin: Any = found.model
    assert twin.lstm.num_layers == 1
    assert [name for name, _ in twin.named_parameters()] == [
        n for n, _ in model.named_parameters()
    ]
    batch = task.batches[0]
    torch.autograd.backward(twin.loss(batch[:, :-1], labels=batch[:, 1:]))
    assert all(latent.grad is not None and latent.grad.any() for latent in found.latents)
    before.check(model)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_stay_those_of_the_model(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)).to(dtype)
    found = represented(model, COARSE)
    assert {t.dtype for t in found.model.state_dict().values()} == {dtype, torch.int64}
    torch.autograd.backward(found.model(torch.ones(4, 6, dtype=dtype)).sum())
