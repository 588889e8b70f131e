"""What models of the grammar are asked: their outputs, their loss, and all that they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from autocompress import Task
from autocompress.outcome.objectives import Split

TOKENS, BATCH, TIME = 11, 3, 5


def batches(model: nn.Module, number: int = 2) -> list[Tensor]:
    """Return batches for a model: tokens, or vectors in single precision."""
    net = getattr(model, "module", model)
    generator = torch.Generator().manual_seed(0)
    if net.front is None:
        return list(torch.randn(number, BATCH, TIME, net.width, generator=generator))
    return list(torch.randint(TOKENS, (number, BATCH, TIME), generator=generator))


def outputs(model: nn.Module) -> Tensor:
    """Return what a model computes in evaluation mode, in double precision.

    Tables that rescale their rows change by this: the model is to be used for nothing else.
    """
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        return torch.cat([model.eval()(batch) for batch in batches(model)]).double()


class Scores(Task):
    """The mean squared distance of a model's scores from given ones.

    Args:
        losses: Whether it yields training losses.
    """

    metric = "distance"

    def __init__(self, batches: list[Tensor], *, losses: bool = True) -> None:
        self.batches, self.losses = batches, losses

    def _loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        scores: Tensor = model(batch).float()
        wanted = torch.linspace(-1, 1, scores[0].numel()).view_as(scores[0]).sin()
        return (scores - wanted).square().mean()

    def evaluate(self, model: nn.Module, split: Split) -> float:
        del split
        with torch.no_grad():
            return sum(self._loss(model, batch).item() for batch in self.batches)

    def calibration_batches(self) -> Iterator[Tensor]:
        yield from self.batches

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[Tensor]:
        del teacher, distillation, seed
        model.train()
        for batch in 2 * self.batches * self.losses:
            yield self._loss(model, batch)

    def fingerprint(self) -> str:
        return "scores"


def snapshot(model: nn.Module) -> list[Any]:
    """Return all of a model, and of the random generators, that compression must leave alone."""
    tensors: Mapping[str, Tensor] = model.state_dict(keep_vars=True)
    found: list[Any] = [torch.get_rng_state().tolist()]
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or is_lazy(tensor):
            found.append(name)
            continue
        readable = tensor.layout == torch.strided and not tensor.is_meta
        values = tensor.detach().reshape(-1).view(torch.uint8).tolist() if readable else None
        found.append((name, id(tensor), tensor.requires_grad, values))
    for module in model.modules():
        hooks = [len(value) for key, value in sorted(vars(module).items()) if "hooks" in key]
        calls = getattr(module, "calls", None)
        found.append((type(module), module.training, hooks, calls, sorted(vars(module))))
    found.append([parameter.grad is None for parameter in model.parameters()])
    return found
