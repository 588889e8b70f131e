"""A model whose weights are computed from the factors that its artifact stores."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from autocompress.compression import Source, factorize_item
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import EntropyStep
from autocompress.structures import Factor


class Represented(nn.Module):
    """Computes with the very values that a file would hold, and trains the numbers behind them.

    In the forward pass every number is rounded as it will be stored; in the backward pass the
    rounding is skipped (straight-through estimation [1]). Pruned elements stay zero and whole
    numbers, such as indices, stay as they are.

    Attributes:
        latents: The numbers before rounding; nothing else is trained.

    References:
        [1] Y. Bengio, N. Leonard, A. Courville. Estimating or Propagating Gradients Through
            Stochastic Neurons. 2013, arXiv 1308.3432.
    """

    def __init__(self, model: nn.Module, source: Source, plan: CompressionPlan) -> None:
        super().__init__()
        # In a tuple, so that the weights of the skeleton are no parameters of this module.
        self._skeleton = (copy.deepcopy(model),)
        self._items = {
            name: _Item(source, name, treatment) for name, treatment in plan.treatments.items()
        }
        self.latents = nn.ParameterList(
            latent for item in self._items.values() for latent in item.latents.values()
        )
        self._weights: dict[str, torch.Tensor] = {}
        self.refresh()

    @property
    def plan(self) -> CompressionPlan:
        """How the factors are stored: the plan given, with its steps as they are by now."""
        return CompressionPlan(
            treatments={name: item.treatment for name, item in self._items.items()}
        )

    def adopt(self, plan: CompressionPlan) -> None:
        """Take over the treatments of a plan for the same entries and structures."""
        for name, treatment in plan.treatments.items():
            self._items[name].treatment = treatment

    @property
    def n_stepped(self) -> int:
        """How many numbers are stored in entropy-constrained steps."""
        return sum(
            latent.numel()
            for item in self._items.values()
            if isinstance(item.treatment.precision, EntropyStep)
            for latent in item.latents.values()
        )

    def widen_steps(self, octaves: float) -> None:
        """Multiply all entropy-constrained steps by 2^octaves; below zero they get finer."""
        for item in self._items.values():
            precision = item.treatment.precision
            if isinstance(precision, EntropyStep):
                wider = precision.model_copy(update={"step": precision.step * 2.0**octaves})
                item.treatment = item.treatment.model_copy(update={"precision": wider})

    def set_dropout(self, probability: float) -> None:
        """Set the probability of all dropout, between recurrent layers too."""
        for module in self._skeleton[0].modules():
            if isinstance(module, nn.Dropout):
                module.p = probability
            elif isinstance(module, nn.RNNBase) and module.num_layers > 1:
                module.dropout = probability

    def train(self, mode: bool = True) -> Represented:
        """Switch dropout on or off."""
        self._skeleton[0].train(mode)
        return super().train(mode)

    def refresh(self) -> None:
        """Compute the weights anew; to be called whenever the latents have changed."""
        self._weights = {
            name: weight for item in self._items.values() for name, weight in item.weights()
        }

    def forward(self, *arguments: Any) -> Any:
        """Run the model with the weights as they will be stored."""
        return functional_call(self._skeleton[0], self._weights, arguments)

    def factors(self) -> dict[str, Mapping[str, Factor]]:
        """Return the factors by the plan's entries, ready to be written into a file."""
        return {name: item.factors() for name, item in self._items.items()}


class _Item:
    """One entry of a plan: its factors, those of them that are trained, and its weights."""

    treatment: Treatment

    def __init__(self, source: Source, name: str, treatment: Treatment) -> None:
        self._members = source.members(name)
        self.treatment = treatment
        self._factors = factorize_item(source, name, treatment)
        self.latents = {
            key: nn.Parameter(torch.from_numpy(factor.values.copy()))
            for key, factor in self._factors.items()
            if not factor.integers
        }

    def factors(self) -> dict[str, Factor]:
        return {key: self._trained(key, factor) for key, factor in self._factors.items()}

    def _trained(self, key: str, factor: Factor) -> Factor:
        if factor.integers:
            return factor
        values = self.latents[key].detach()
        if factor.mask is not None:
            values = values * torch.from_numpy(factor.mask)
        return replace(factor, values=values.numpy())

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield each weight by its name and aliases, with gradients that reach the latents."""
        # Structures use operations that arrays and tensors share.
        rounded: Any = {key: self._rounded(key, factor) for key, factor in self.factors().items()}
        matrix: Any = self.treatment.structure.reconstruct(rounded)
        first = 0
        for weight in self._members:
            last = first + weight.matrix.shape[0]
            values = matrix[first:last].reshape(weight.values.shape)
            first = last
            for name in (weight.name, *weight.aliases):
                yield name, values

    def _rounded(self, key: str, factor: Factor) -> Any:
        if factor.integers:
            return factor.values
        latent: torch.Tensor = self.latents[key]
        if factor.mask is not None:
            latent = latent * torch.from_numpy(factor.mask)
        stored = torch.from_numpy(self.treatment.precision.quantize(factor))
        return latent + (stored - latent).detach()
