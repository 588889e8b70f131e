"""One entry of a plan in training: its factors, what of them is trained, and its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from autocompress.compression import Source, factorize_item
from autocompress.plan import Treatment
from autocompress.precisions import Codebook, Float32
from autocompress.structures import AnyStructure, Factor, Pruned
from autocompress.structures.pruned import pruned

State = dict[str, dict[str, torch.Tensor]]
"""By factor, its fields as tensors; what is None is left out."""


class Item:
    """Trains the numbers behind the factors of a weight, or of the stacked weights of a site.

    Numbers are rounded in the forward pass as they will be stored, and the rounding is skipped in
    the backward pass. Pruned elements are zero and rest. Elements that share a level of a
    codebook share its gradient and so move together: the codes stay, and the level, their mean,
    is trained [1]. Whole numbers, such as indices, stay as they are.

    Attributes:
        treatment: How the factors are stored.
        latents: By factor, the numbers before rounding.

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
        if state is None:
            whole = Treatment(structure=unpruned(treatment.structure), precision=Float32())
            self._factors = factorize_item(source, name, whole)
        else:
            self._factors = {key: _factor(fields) for key, fields in state.items()}
            self._codes = {key: f["codes"] for key, f in state.items() if "codes" in f}
        self.latents = {
            key: nn.Parameter(torch.from_numpy(factor.values.copy()))
            for key, factor in self._factors.items()
            if not factor.integers
        }

    @property
    def sparsity(self) -> float:
        """Share of zeros that the plan asks for; 0 where nothing is pruned."""
        structure = self.treatment.structure
        return structure.sparsity if isinstance(structure, Pruned) else 0.0

    def prune(self, share: float) -> None:
        """Prune the smallest magnitudes as they are by now, to a share of the final sparsity."""
        for key, latent in self.latents.items() if self.sparsity else ():
            factor = replace(self._factors[key], values=latent.detach().numpy())
            mask = pruned(factor, share * self.sparsity).mask
            self._factors[key] = replace(self._factors[key], mask=mask)

    def settle(self) -> None:
        """Fix which level of its codebook each number takes."""
        precision = self.treatment.precision
        for key, latent in self.latents.items() if isinstance(precision, Codebook) else ():
            factor = replace(self._factors[key], values=latent.detach().numpy())
            self._codes[key] = torch.from_numpy(precision.encode(factor)["codes"].ravel())

    def unsettle(self) -> None:
        """Let the codes go while pruning goes on, as they are of what survives."""
        if self.sparsity:
            self._codes.clear()

    def continues(self, other: Item) -> bool:
        """Whether the factors are those of another item, pruning and precision apart."""
        return unpruned(self.treatment.structure) == unpruned(other.treatment.structure)

    def take(self, other: Item) -> None:
        """Take over another item's factors and the numbers behind them."""
        self._factors, self.latents = other._factors, other.latents

    def state(self) -> State:
        """Return all that training has changed, or that could come out otherwise."""
        return {key: self._fields(key, factor) for key, factor in self._factors.items()}

    def _fields(self, key: str, factor: Factor) -> dict[str, torch.Tensor]:
        values = self.latents[key].detach().numpy() if key in self.latents else factor.values
        arrays = {**vars(factor), "values": values, "integers": np.array(factor.integers)}
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
        values = self.latents[key].detach()
        if factor.mask is not None:
            values = values * torch.from_numpy(factor.mask)
        return replace(factor, values=values.numpy())

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield each weight by its name and aliases, with gradients that reach the latents."""
        # Structures use operations that arrays and tensors share.
        rounded: Any = {key: self._rounded(key, factor) for key, factor in self._factors.items()}
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
        if key in self._codes:
            return self._leveled(key, factor)
        latent: torch.Tensor = self.latents[key]
        if factor.mask is not None:
            latent = latent * torch.from_numpy(factor.mask)
        if isinstance(self.treatment.precision, Codebook):
            return latent  # no level is known yet: pruning goes on
        own = replace(factor, values=latent.detach().numpy())
        stored = torch.from_numpy(self.treatment.precision.quantize(own))
        return latent + (stored - latent).detach()

    def _leveled(self, key: str, factor: Factor) -> torch.Tensor:
        """Return the level of each element, which is the mean of the elements that share it."""
        codes, latent = self._codes[key], self.latents[key]
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


def unpruned(structure: AnyStructure) -> AnyStructure:
    """Return what is pruned, where anything is."""
    return structure.of if isinstance(structure, Pruned) else structure


def _factor(fields: Mapping[str, torch.Tensor]) -> Factor:
    """Undo `Item.state` for one factor."""
    arrays: dict[str, NDArray[Any]] = {
        key: tensor.numpy() for key, tensor in fields.items() if key != "codes"
    }
    integers = bool(arrays.pop("integers"))
    return Factor(**arrays, integers=integers)
