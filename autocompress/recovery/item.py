"""One entry of a plan in training: its factors, what of them is trained, and its weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from autocompress.encoding.encoder import Encoder
from autocompress.knowledge.source import Source
from autocompress.plan import Treatment
from autocompress.precisions import AnyPrecision, Codebook, Float32
from autocompress.precisions.base import expected_magnitudes
from autocompress.structures import (
    AnyStructure,
    Curvature,
    Factor,
    LowRank,
    Matrix,
    Pruned,
)
from autocompress.structures.pruned import pruned

_REACH = 0.45  # steps

State = dict[str, dict[str, torch.Tensor]]
"""By factor, its fields as tensors; what is None is left out."""


class Item:
    """Trains the numbers behind the factors of a weight, or of the stacked weights of a site.

    Numbers are rounded in the forward pass as they will be stored, and the rounding is skipped in
    the backward pass. Pruned elements are zero and rest. Elements that share a level of a
    codebook share its gradient and so move together: the codes stay, and the level, their mean,
    is trained [1]. Whole numbers, such as indices, stay as they are.

    What is trained is measured in units of the root mean square of its factor, so that one
    learning rate serves all. Steps of storage would not do: they are wide where a number matters
    little, and what is seen rarely would move farthest.

    Attributes:
        treatment: How the factors are stored.
        latents: By factor, the numbers before rounding, in their units.

    References:
        [1] S. Han, H. Mao, W. Dally. Deep Compression: Compressing Deep Neural Networks with
            Pruning, Trained Quantization and Huffman Coding. ICLR 2016, arXiv 1510.00149, sec. 3.
    """

    treatment: Treatment

    def __init__(
        self, source: Source, name: str, treatment: Treatment, state: State | None = None
    ) -> None:
        self._members = source.members(name)
        self.treatment = treatment
        self._codes: dict[str, torch.Tensor] = {}
        self._fixed_steps: dict[str, tuple[AnyPrecision, torch.Tensor]] = {}
        if state is None:
            whole = Treatment(structure=unpruned(treatment.structure), precision=Float32())
            self._factors = {
                key: _settled(factor, treatment.precision)
                for key, factor in Encoder(source).factorize(name, whole).items()
            }
            trained = {key: factor for key, factor in self._factors.items() if not factor.integers}
            self._units = {key: _unit(factor) for key, factor in trained.items()}
            latents = {
                key: torch.from_numpy(factor.values) / self._units[key]
                for key, factor in trained.items()
            }
        else:
            self._factors = {key: _factor(fields) for key, fields in state.items()}
            self._codes = {key: f["codes"] for key, f in state.items() if "codes" in f}
            self._units = {key: f["unit"] for key, f in state.items() if "unit" in f}
            latents = {key: f["latent"].clone() for key, f in state.items() if "unit" in f}
        self.latents = {key: nn.Parameter(latent) for key, latent in latents.items()}

    def _values(self, key: str) -> torch.Tensor:
        return self.latents[key] * self._units[key]

    def _arrays(self, key: str) -> Matrix:
        values: Matrix = self._values(key).detach().numpy()
        return values

    def _factor(self, key: str) -> Factor:
        """Return a factor with its values as they are by now, before rounding."""
        factor, values = self._factors[key], self._arrays(key)
        return replace(factor, values=values if factor.mask is None else values * factor.mask)

    @property
    def sparsity(self) -> float:
        """Share of zeros that the plan asks for; 0 where nothing is pruned."""
        structure = self.treatment.structure
        return structure.sparsity if isinstance(structure, Pruned) else 0.0

    def prune(self, share: float) -> None:
        """Prune the smallest magnitudes as they are by now, to a share of the final sparsity."""
        for key in self.latents if self.sparsity else ():
            factor = replace(self._factors[key], values=self._arrays(key))
            mask = pruned(factor, share * self.sparsity).mask
            self._factors[key] = replace(self._factors[key], mask=mask)

    def settle(self) -> None:
        """Fix which level of its codebook each number takes."""
        precision = self.treatment.precision
        for key in self.latents if isinstance(precision, Codebook) else ():
            factor = replace(self._factors[key], values=self._arrays(key))
            self._codes[key] = torch.from_numpy(precision.encode(factor)["codes"].ravel())

    def unsettle(self) -> None:
        """Let the codes go while pruning goes on, as they are of what survives."""
        if self.sparsity:
            self._codes.clear()

    @property
    def has_steps(self) -> bool:
        """Whether the numbers are stored in steps that can be widened."""
        precision = self.treatment.precision
        return precision.widened(1.0) != precision

    def _steps(self, key: str) -> torch.Tensor | None:
        """Return the distance of levels at each number, or None where there is no such."""
        precision = self.treatment.precision
        known = self._fixed_steps.get(key)
        if known is not None and known[0] == precision:
            return known[1]
        steps = precision.steps(self._factor(key))
        if steps is None:
            return None
        found = torch.from_numpy(steps.astype(np.float32))
        if precision.has_fixed_steps and self._factors[key].curvature is not None:
            self._fixed_steps[key] = precision, found
        return found

    def shrink(self, amount: float) -> None:
        """Draw numbers towards zero, in proportion to the bits that a further step costs.

        Where a price per bit gives each number its step, a number that is worth its bits resists
        as strongly as any other in units of the optimizer, which normalises gradients: the pull
        is the root of the price times the bits. With magnitudes, in steps, of the mean m, a
        further step costs about log2(1 + 1 / m) bits; m is told from row and column.

        Args:
            amount: How far, in units of the latents, for each bit and the root of a price of one.
        """
        for key, latent in self.latents.items() if self.has_steps else ():
            steps, price = self._steps(key), self.treatment.precision.price(self._factor(key))
            assert steps is not None
            with torch.no_grad():
                expected = expected_magnitudes(torch.round(self._values(key) / steps).abs())
                distance = amount * math.sqrt(price) * torch.log2(1 + 1 / expected)
                latent.sub_(torch.clamp(latent, -distance, distance))

    def continues(self, other: Item) -> bool:
        """Whether the factors are those of another item, pruning and precision apart."""
        return unpruned(self.treatment.structure) == unpruned(other.treatment.structure)

    def take(self, other: Item) -> None:
        """Take over another item's factors and the numbers behind them."""
        self._factors, self.latents, self._units = other._factors, other.latents, other._units
        self._fixed_steps.clear()

    def state(self) -> State:
        """Return all that training has changed, or that could come out otherwise."""
        return {key: self._fields(key, factor) for key, factor in self._factors.items()}

    def _fields(self, key: str, factor: Factor) -> dict[str, torch.Tensor]:
        flags = {name: np.array(getattr(factor, name)) for name in ("integers", "nearest")}
        arrays = {**vars(factor), **flags}
        if key in self.latents:
            arrays["values"] = self._arrays(key)
            arrays["unit"] = self._units[key].numpy()
            arrays["latent"] = self.latents[key].detach().numpy()
        curvature = arrays.pop("curvature")
        if curvature is not None:
            arrays |= {"rows": curvature.rows, "moment": curvature.moment}
        if key in self._codes:
            arrays["codes"] = self._codes[key].numpy()
        return {name: torch.from_numpy(a) for name, a in arrays.items() if a is not None}

    def factors(self) -> dict[str, Factor]:
        """Return the factors, ready to be written into a file."""
        return {key: self._trained(key, factor) for key, factor in self._factors.items()}

    def _trained(self, key: str, factor: Factor) -> Factor:
        if factor.integers:
            return factor
        if key in self._codes:
            # Few values in half precision are stored by a codebook as exactly these.
            return replace(factor, values=self._leveled(key, factor).detach().numpy())
        return self._factor(key)

    @property
    def names(self) -> tuple[str, ...]:
        """All names of its weights, each followed by its aliases."""
        return tuple(n for weight in self._members for n in (weight.name, *weight.aliases))

    @property
    def is_thin(self) -> bool:
        """Whether it is one weight, represented by two thin factors, `left` and `right`."""
        structure = unpruned(self.treatment.structure)
        return isinstance(structure, LowRank) and len(self._members) == 1

    def rounded(self) -> dict[str, Any]:
        """Return the factors as they will be stored, with gradients that reach the latents."""
        return {key: self._rounded(key, factor) for key, factor in self._factors.items()}

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield each weight by its name and aliases, with gradients that reach the latents."""
        # Structures use operations that arrays and tensors share.
        matrix: Any = self.treatment.structure.reconstruct(self.rounded())
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
        if key in self._codes:
            return self._leveled(key, factor)
        latent = self._values(key)
        if factor.mask is not None:
            latent = latent * torch.from_numpy(factor.mask)
        if isinstance(self.treatment.precision, Codebook):
            return latent  # no level is known yet: pruning goes on
        if isinstance(self.treatment.precision, Float32):
            return latent
        return latent + (self._stored(key, latent.detach()) - latent).detach()

    def _stored(self, key: str, values: torch.Tensor) -> torch.Tensor:
        """Return values as they are after storing and loading."""
        precision = self.treatment.precision
        steps = self._steps(key)
        if steps is not None:
            return torch.round(values / steps) * steps
        own = replace(self._factors[key], values=values.numpy())
        return torch.from_numpy(precision.quantize(own))

    def _leveled(self, key: str, factor: Factor) -> torch.Tensor:
        """Return the level of each element, which is the mean of the elements that share it."""
        codes, latent = self._codes[key], self._values(key)
        mask = None if factor.mask is None else torch.from_numpy(factor.mask)
        values = latent.flatten() if mask is None else latent[mask]
        size = int(codes.max()) + 1 if codes.numel() else 0
        counts = torch.bincount(codes, minlength=size).clamp(min=1)
        levels = torch.zeros(size).index_add(0, codes, values) / counts
        stored = levels.detach().half().float()
        spread = (levels + (stored - levels).detach())[codes]
        if mask is None:
            return spread.reshape(latent.shape)
        return torch.zeros_like(latent).masked_scatter(mask, spread)


def _unit(factor: Factor) -> torch.Tensor:
    mean_square = np.mean(np.square(factor.values), dtype=np.float64)
    return torch.tensor(float(np.sqrt(mean_square)) or 1.0)


def unpruned(structure: AnyStructure) -> AnyStructure:
    """Return what is pruned, where anything is."""
    return structure.of if isinstance(structure, Pruned) else structure


def _factor(fields: Mapping[str, torch.Tensor]) -> Factor:
    """Undo `Item.state` for one factor."""
    arrays: dict[str, NDArray[Any]] = {
        key: tensor.numpy()
        for key, tensor in fields.items()
        if key not in ("codes", "unit", "latent")
    }
    integers, nearest = bool(arrays.pop("integers")), bool(arrays.pop("nearest"))
    curvature = None
    if "rows" in arrays:
        curvature = Curvature(arrays.pop("rows"), arrays.pop("moment"))
    return Factor(**arrays, integers=integers, nearest=nearest, curvature=curvature)


def _settled(factor: Factor, precision: AnyPrecision) -> Factor:
    """Return a factor that rounding to the nearest level takes to the levels of its own rounding.

    Training relies upon the nearest level. What was rounded elsewhere, for error feedback or for
    the bits, is moved just into the reach of the level that it was rounded to.
    """
    if factor.integers:
        return factor
    values, steps = factor.values, precision.steps(factor)
    if steps is not None:
        level, reach = precision.quantize(factor), _REACH * steps
        values = np.clip(values, level - reach, level + reach).astype(np.float32)
    return precision.steady(replace(factor, values=values))
