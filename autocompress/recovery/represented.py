"""A model whose weights are computed from the factors that its artifact stores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from autocompress.encoding.encoder import Encoder
from autocompress.errors import ModelError
from autocompress.knowledge.source import Source
from autocompress.layers.computed import Places, keep_statistics, set_dropout
from autocompress.layers.copies import copied
from autocompress.layers.factors import Factors, FromFactors, run_from
from autocompress.plan import CompressionPlan
from autocompress.recovery.item import Item, State
from autocompress.structures import Factor
from autocompress.support.device import device_of


class Represented:
    """Computes with the very values that a file would hold, and trains the numbers behind them.

    In the forward pass every number is rounded as it will be stored; in the backward pass the
    rounding is skipped (straight-through estimation [1]). Weights that ask for no gradient are
    stored as the plan says and stay. So do buffers, exactly as they are: layers that have
    statistics, such as batch normalisation, use them in training too. Rows of zeros stay zero.

    Args:
        model: The architecture; it is copied.
        source: The weights to begin with.
        plan: How they are stored.
        states: What `states` returned, to continue from there.

    Attributes:
        model: A copy of the model, of its own class, whose parameters are computed.
        latents: The numbers before rounding; nothing else is trained.

    Raises:
        PlanError: If the plan does not fit.
        ModelError: If the model cannot be copied, or nothing of it may be trained.

    References:
        [1] Y. Bengio, N. Leonard, A. Courville. Estimating or Propagating Gradients Through
            Stochastic Neurons. 2013, arXiv 1308.3432.
    """

    model: nn.Module
    latents: list[nn.Parameter]

    def __init__(
        self,
        model: nn.Module,
        source: Source,
        plan: CompressionPlan,
        states: Mapping[str, State] | None = None,
    ) -> None:
        Encoder(source).check(plan)
        self._original, self._source = model, source
        self.model = _copied(model)
        keep_statistics(self.model)
        parameters = self.model.named_parameters(remove_duplicate=False)
        self._free = {name for name, parameter in parameters if parameter.requires_grad}
        device = device_of(self.model)
        self._items = {
            name: Item(
                source,
                name,
                treatment,
                device,
                states[name] if states else None,
                trained=all(
                    not self._free.isdisjoint((weight.name, *weight.aliases))
                    for weight in source.members(name)
                ),
            )
            for name, treatment in plan.treatments.items()
        }
        self._thin: dict[str, tuple[Factors, Tensor]] = {}
        self._resting: dict[str, list[tuple[tuple[str, ...], Tensor]]] = {}
        self._places = Places(self.model, self._formed())
        self._collect()
        if states is None:
            self.prune(1.0)
            self.settle()
        self.refresh()

    def _formed(self) -> list[str]:
        """Let modules that can do without their weight run from thin factors.

        Returns:
            The names of the weights that have to be formed, then.
        """
        tensors = self.model.state_dict(keep_vars=True)
        products: dict[str, FromFactors] = {}
        for name, item in self._items.items():
            if len(item.names) > 1 or item.has_zero_rows:
                continue
            factors = Factors(item.treatment.structure, item.shapes, item.rounded())
            if factors.pair is not None:
                products |= dict.fromkeys(item.names[0], factors.products[0])
                self._thin[name] = factors, tensors[item.names[0][0]].new_empty(0)
        gone = run_from(self.model, products, direct=True)
        names = [alias for item in self._items.values() for group in item.names for alias in group]
        return [name for name in names if name not in gone]

    def _collect(self) -> None:
        self.latents = [latent for item in self._items.values() for latent in item.latents]
        if not self.latents:
            raise ModelError(
                "recovery trains the parameters with `requires_grad`, but the model has none; "
                "call `model.requires_grad_(True)`, or leave recovery out"
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
        stepped = (item for item in self._items.values() if item.has_steps)
        return sum(latent.numel() for item in stepped for latent in item.latents)

    def succeeded_by(self, plan: CompressionPlan) -> Represented:
        """Return the model represented by another plan, as trained so far.

        Factors of the same structure are taken over; other weights are factorised as they are
        by now.
        """
        trained = {
            name: weight.detach().cpu().numpy()
            for item in self._items.values()
            for names, weight in item.weights()
            for name in names
        }
        old = self._source.weights
        weights = {
            name: replace(weight, values=trained[name]) for name, weight in old.weights.items()
        }
        source = replace(self._source, weights=replace(old, weights=weights))
        other = Represented(self._original, source, plan)
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
        self._resting.clear()
        for item in self._items.values():
            item.prune(share)

    def settle(self) -> None:
        """Fix the codes of all codebooks; from then on their levels are trained."""
        self._resting.clear()
        for item in self._items.values():
            item.settle()

    def unsettle(self) -> None:
        """Let the codes of pruned weights go, until their pruning is done."""
        self._resting.clear()
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
            item.widen(octaves)

    def set_dropout(self, probability: float) -> None:
        """Set the probability of all dropout, between recurrent layers too."""
        set_dropout(self.model, probability)

    def refresh(self) -> None:
        """Compute the weights anew; to be called whenever the latents have changed."""
        for name, item in self._items.items():
            if name in self._thin:
                factors, like = self._thin[name]
                factors.set({key: _like(value, like) for key, value in item.rounded().items()})
            for names, weight in self._weights(name, item):
                for alias in names:
                    self._places.put(alias, weight)

    def _weights(self, name: str, item: Item) -> list[tuple[tuple[str, ...], Tensor]]:
        """Return the weights of an entry that have to be formed; those that rest, only once."""
        if not any(alias in self._places for group in item.names for alias in group):
            return []
        if item.is_trained:
            return list(item.weights())
        if name not in self._resting:
            self._resting[name] = list(item.weights())
        return self._resting[name]

    def factors(self) -> dict[str, Mapping[str, Factor]]:
        """Return the factors by the plan's entries, ready to be written into a file."""
        return {name: item.factors() for name, item in self._items.items()}

    def states(self) -> dict[str, State]:
        """Return all that training has changed, for another object to continue from."""
        return {name: item.state() for name, item in self._items.items()}


def _like(value: Any, like: Tensor) -> Any:
    return value.to(like) if isinstance(value, Tensor) else value


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copied(model)
    except Exception as error:  # whatever a user's object raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ModelError(
            f"recovery trains a copy of the model, but `copy.deepcopy` fails ({reason}); "
            "give it a `__deepcopy__`, or leave recovery out"
        ) from error
