"""A model whose weights are computed from the factors that its artifact stores."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from autocompress.encoding.encoder import Encoder
from autocompress.knowledge.source import Source
from autocompress.plan import CompressionPlan
from autocompress.recovery.item import Item, State
from autocompress.recovery.thin import thin_modules
from autocompress.structures import Factor


class Represented(nn.Module):
    """Computes with the very values that a file would hold, and trains the numbers behind them.

    In the forward pass every number is rounded as it will be stored; in the backward pass the
    rounding is skipped (straight-through estimation [1]).

    Args:
        model: The architecture; it is copied.
        source: The weights to begin with.
        plan: How they are stored.
        states: What `states` returned, to continue from there.

    Attributes:
        latents: The numbers before rounding; nothing else is trained.

    Raises:
        PlanError: If the plan does not fit.

    References:
        [1] Y. Bengio, N. Leonard, A. Courville. Estimating or Propagating Gradients Through
            Stochastic Neurons. 2013, arXiv 1308.3432.
    """

    def __init__(
        self,
        model: nn.Module,
        source: Source,
        plan: CompressionPlan,
        states: Mapping[str, State] | None = None,
    ) -> None:
        super().__init__()
        Encoder(source).check(plan)
        # In tuples, so that their weights are no parameters of this module.
        self._original, self._skeleton = (model,), (copy.deepcopy(model),)
        self._source = source
        self._items = {
            name: Item(source, name, treatment, states[name] if states else None)
            for name, treatment in plan.treatments.items()
        }
        self._thin = self._run_thin()
        self._tensors: dict[str, torch.Tensor] = {}
        self._collect()
        if states is None:
            self.prune(1.0)
            self.settle()
        self.refresh()

    def _run_thin(self) -> dict[str, tuple[str, ...]]:
        """Replace the modules that can do without their weight; name them by the plan's entry."""
        skeleton = self._skeleton[0]
        found: dict[str, tuple[str, ...]] = {}
        for name, item in self._items.items():
            modules = thin_modules(skeleton, item.names) if item.is_thin else None
            if modules is not None:
                found[name] = tuple(modules)
                for path, module in modules.items():
                    skeleton.set_submodule(path, module)
        return found

    def _collect(self) -> None:
        self.latents = nn.ParameterList(
            latent for item in self._items.values() for latent in item.latents.values()
        )

    @property
    def plan(self) -> CompressionPlan:
        """How the factors are stored: the plan given, with its steps as they are by now."""
        return CompressionPlan(
            treatments={name: item.treatment for name, item in self._items.items()}
        )

    @property
    def is_pruned(self) -> bool:
        """Whether the plan prunes anything."""
        return any(item.sparsity for item in self._items.values())

    @property
    def n_stepped(self) -> int:
        """How many numbers are stored in steps that can be widened."""
        return sum(
            latent.numel()
            for item in self._items.values()
            if item.has_steps
            for latent in item.latents.values()
        )

    def succeeded_by(self, plan: CompressionPlan) -> Represented:
        """Return the model represented by another plan, as trained so far.

        Factors of the same structure are taken over; other weights are factorised as they are
        by now.
        """
        trained = {
            name: weight.detach().numpy()
            for item in self._items.values()
            for name, weight in item.weights()
        }
        old = self._source.weights
        weights = {
            name: replace(weight, values=trained[name]) for name, weight in old.weights.items()
        }
        source = replace(self._source, weights=replace(old, weights=weights))
        other = Represented(self._original[0], source, plan)
        for name, item in other._items.items():
            before = self._items.get(name)
            if before is not None and item.continues(before):
                item.take(before)
        other._collect()
        if not self.is_pruned:  # masks that are there stay
            other.prune(1.0)
        other.settle()
        other.refresh()
        return other

    def prune(self, share: float) -> None:
        """Prune anew, by the magnitudes of now, to a share of every final sparsity."""
        for item in self._items.values():
            item.prune(share)

    def settle(self) -> None:
        """Fix the codes of all codebooks; from then on their levels are trained."""
        for item in self._items.values():
            item.settle()

    def unsettle(self) -> None:
        """Let the codes of pruned weights go, until their pruning is done."""
        for item in self._items.values():
            item.unsettle()

    def shrink(self, amount: float) -> None:
        """Draw numbers that are stored in steps of their own towards zero.

        Training spreads numbers, which costs bits, and steps that have to widen for it cost more
        than is learnt.

        Args:
            amount: How far, in steps for each bit that a step further costs.
        """
        for item in self._items.values():
            item.shrink(amount)

    def widen_steps(self, octaves: float) -> None:
        """Multiply all steps that can be chosen by 2^octaves; below zero they get finer."""
        for item in self._items.values():
            precision = item.treatment.precision.widened(octaves)
            item.treatment = item.treatment.model_copy(update={"precision": precision})

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
        self._tensors = {}
        for name, item in self._items.items():
            if name in self._thin:
                rounded = item.rounded()
                for path in self._thin[name]:
                    self._tensors |= {f"{path}.{key}": rounded[key] for key in rounded}
            else:
                self._tensors |= dict(item.weights())

    def forward(self, *arguments: Any) -> Any:
        """Run the model with the weights as they will be stored."""
        return functional_call(self._skeleton[0], self._tensors, arguments)

    def factors(self) -> dict[str, Mapping[str, Factor]]:
        """Return the factors by the plan's entries, ready to be written into a file."""
        return {name: item.factors() for name, item in self._items.items()}

    def states(self) -> dict[str, State]:
        """Return all that training has changed, for another object to continue from."""
        return {name: item.state() for name, item in self._items.items()}
