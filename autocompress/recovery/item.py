"""One entry of a plan in training: its factors, what of them is trained, and its weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autocompress.encoding.encoder import Encoder
from autocompress.knowledge.source import Source
from autocompress.plan import Treatment
from autocompress.precisions import Float32
from autocompress.recovery.numbers import Fields, Numbers
from autocompress.recovery.rounding import leveled, rounded, settled, shrink
from autocompress.structures import Factor, matrix_shape

State = dict[str, Fields]
"""By factor, all that training has changed."""


class Item:
    """Trains the numbers behind the factors of a weight, or of the stacked weights of a site.

    Attributes:
        treatment: How the factors are stored, by what can be trained.
        is_trained: Whether the numbers may move; if not, they are stored as the plan says.
        shapes: Of the weights, in the order in which they are stacked.
        names: Of each weight, all names.
    """

    treatment: Treatment

    def __init__(
        self,
        source: Source,
        name: str,
        treatment: Treatment,
        device: torch.device,
        state: State | None = None,
        *,
        trained: bool = True,
    ) -> None:
        precision = treatment.precision.trained
        self.treatment = treatment.model_copy(update={"precision": precision})
        self.is_trained = trained
        members = source.members(name)
        self.shapes = [weight.values.shape for weight in members]
        self.names = [(weight.name, *weight.aliases) for weight in members]
        zero = np.concatenate([weight.zero_rows for weight in members])
        self._zero = torch.from_numpy(zero)[:, None].to(device) if zero.any() else None
        if state is None:
            whole = Treatment(structure=treatment.structure.base, precision=Float32())
            factors = Encoder(source).factorize(name, whole)
            self._numbers = {
                key: Numbers.of(settled(factor, precision), device)
                for key, factor in factors.items()
            }
        else:
            self._numbers = {
                key: Numbers.from_state(fields, device) for key, fields in state.items()
            }

    @property
    def latents(self) -> list[nn.Parameter]:
        """The numbers before rounding that are trained, factor by factor."""
        found = (numbers.latent for numbers in self._numbers.values())
        return [latent for latent in found if latent is not None and self.is_trained]

    @property
    def sparsity(self) -> float:
        """Share of zeros that the plan asks for; 0 where nothing is pruned."""
        return self.treatment.structure.sparsity

    @property
    def has_steps(self) -> bool:
        """Whether numbers that are trained are stored in steps that can be widened."""
        return self.is_trained and self.treatment.precision.has_steps

    def prune(self, share: float) -> None:
        """Prune the smallest magnitudes as they are by now, to a share of the final sparsity."""
        for numbers in self._numbers.values() if self.sparsity else ():
            numbers.prune(share * self.sparsity)

    def settle(self) -> None:
        """Fix which level of its codebook each number takes."""
        precision = self.treatment.precision
        for numbers in self._numbers.values() if precision.trains_levels else ():
            if numbers.latent is not None:
                factor = replace(numbers.factor, values=numbers.array)
                numbers.settle(precision.encode(factor)["codes"].ravel())

    def unsettle(self) -> None:
        """Let the codes go while pruning goes on, as they are of what survives."""
        for numbers in self._numbers.values() if self.sparsity else ():
            numbers.codes = None

    def shrink(self, amount: float) -> None:
        """Draw numbers towards zero, in proportion to the bits that a further step costs."""
        for numbers in self._numbers.values() if self.has_steps else ():
            shrink(numbers, self.treatment.precision, amount)

    def widen(self, octaves: float) -> None:
        """Multiply all steps that can be chosen by 2^octaves; below zero they get finer."""
        if self.has_steps:
            precision = self.treatment.precision.widened(octaves)
            self.treatment = self.treatment.model_copy(update={"precision": precision})

    def continues(self, other: Item) -> bool:
        """Whether the factors are those of another item, pruning and precision apart."""
        return self.treatment.structure.base == other.treatment.structure.base

    def take(self, other: Item) -> None:
        """Take over another item's factors and the numbers behind them."""
        self._numbers = other._numbers

    def state(self) -> State:
        """Return all that training has changed, or that could come out otherwise."""
        return {key: numbers.state() for key, numbers in self._numbers.items()}

    def factors(self) -> dict[str, Factor]:
        """Return the factors, ready to be written into a file."""
        return {key: self._trained(numbers) for key, numbers in self._numbers.items()}

    def _trained(self, numbers: Numbers) -> Factor:
        if numbers.codes is None:
            return numbers.now
        # Few values in half precision are stored by a codebook as exactly these.
        values = leveled(numbers, numbers.codes).detach().cpu().numpy()
        return replace(numbers.factor, values=values)

    def rounded(self) -> dict[str, Any]:
        """Return the factors as they will be stored, with gradients that reach the latents."""
        precision = self.treatment.precision
        found = {key: rounded(numbers, precision) for key, numbers in self._numbers.items()}
        if self.is_trained:
            return found
        return {k: v.detach() if isinstance(v, Tensor) else v for k, v in found.items()}

    @property
    def has_zero_rows(self) -> bool:
        """Whether some rows are zero and stay so, whatever the factors make of them."""
        return self._zero is not None

    def weights(self) -> Iterator[tuple[tuple[str, ...], Tensor]]:
        """Yield each weight with its names, and with gradients that reach the latents."""
        # Structures use operations that arrays and tensors share.
        matrix: Any = self.treatment.structure.reconstruct(self.rounded())
        if self._zero is not None:
            matrix = matrix.masked_fill(self._zero, 0)
        first = 0
        for names, shape in zip(self.names, self.shapes, strict=True):
            last = first + matrix_shape(shape)[0]
            yield names, matrix[first:last].reshape(shape)
            first = last
