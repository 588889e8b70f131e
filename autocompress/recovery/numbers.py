"""The numbers of one factor in training, before rounding, and what of them is pruned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autocompress.precisions import Precision
from autocompress.structures import Curvature, Factor, Matrix
from autocompress.structures.pruned import pruned

Fields = dict[str, Tensor]
"""The fields of a factor as tensors; what is None is left out."""


class Numbers:
    """Holds the numbers behind one factor; whole numbers, such as indices, stay as they are.

    What is trained is measured in units of the root mean square of its factor, so that one
    learning rate serves all. Steps of storage would not do: they are wide where a number matters
    little, and what is seen rarely would move farthest.

    Attributes:
        factor: The factor at the beginning, with the mask of now.
        latent: The numbers before rounding, in their unit; None for whole numbers.
        codes: By element that is not pruned, the level of a codebook that it takes, or None where
            levels are not fixed.
    """

    def __init__(
        self, factor: Factor, latent: Tensor, unit: Tensor, codes: Tensor | None = None
    ) -> None:
        self.factor, self.codes = factor, codes
        self.latent = None if factor.integers else nn.Parameter(latent)
        self._unit = unit
        self._fixed_steps: tuple[Precision, Tensor] | None = None

    @classmethod
    def of(cls, factor: Factor, device: torch.device) -> Numbers:
        """Begin with the values of a factor, trained on a device."""
        mean_square = np.mean(np.square(factor.values), dtype=np.float64)
        unit = torch.tensor(float(np.sqrt(mean_square)) or 1.0)
        latent = torch.from_numpy(factor.values) / unit
        return cls(factor, latent.to(device), unit.to(device))

    @classmethod
    def from_state(cls, fields: Fields, device: torch.device) -> Numbers:
        """Continue from what `state` returned, on a device."""
        factor = _factor({n: t for n, t in fields.items() if n not in ("codes", "unit", "latent")})
        nothing = torch.empty(0)
        latent, unit = fields.get("latent", nothing).clone(), fields.get("unit", nothing)
        codes = fields.get("codes")
        codes = None if codes is None else codes.to(device)
        return cls(factor, latent.to(device), unit.to(device), codes)

    def state(self) -> Fields:
        """Return all that training has changed, or that could come out otherwise."""
        flags = {name: np.array(getattr(self.factor, name)) for name in ("integers", "nearest")}
        arrays: dict[str, Any] = {**vars(self.factor), **flags}
        if self.latent is not None:
            arrays["values"] = self.array
            arrays["unit"] = self._unit.cpu().numpy()
            arrays["latent"] = self.latent.detach().cpu().numpy()
        curvature = arrays.pop("curvature")
        if curvature is not None:
            arrays |= curvature.arrays
        if self.codes is not None:
            arrays["codes"] = self.codes.cpu().numpy()
        return {name: torch.from_numpy(a) for name, a in arrays.items() if a is not None}

    @property
    def values(self) -> Tensor:
        """The numbers before rounding and pruning, of the factor's shape."""
        assert self.latent is not None
        return self.latent * self._unit

    @property
    def array(self) -> Matrix:
        """The same as an array."""
        values: Matrix = self.values.detach().cpu().numpy()
        return values

    @property
    def now(self) -> Factor:
        """The factor with its values as they are by now, before rounding."""
        if self.factor.integers:
            return self.factor
        values, mask = self.array, self.factor.mask
        return replace(self.factor, values=values if mask is None else values * mask)

    @property
    def mask(self) -> Tensor | None:
        """What is not pruned, or None where nothing is."""
        mask = self.factor.mask
        return None if mask is None else torch.from_numpy(mask).to(self._unit.device)

    def settle(self, codes: NDArray[Any]) -> None:
        """Fix which level of a codebook each element takes that is not pruned."""
        self.codes = torch.from_numpy(codes).to(self._unit.device)

    def prune(self, sparsity: float) -> None:
        """Prune the smallest magnitudes as they are by now."""
        if self.latent is not None:
            mask = pruned(replace(self.factor, values=self.array), sparsity).mask
            self.factor = replace(self.factor, mask=mask)

    def steps(self, precision: Precision) -> Tensor | None:
        """Return the distance of levels at each number, or None where there is no such."""
        known = self._fixed_steps
        if known is not None and known[0] == precision:
            return known[1]
        steps = precision.steps(self.now)
        if steps is None:
            return None
        found = torch.from_numpy(steps.astype(np.float32)).to(self._unit.device)
        if precision.has_fixed_steps and self.factor.curvature is not None:
            self._fixed_steps = precision, found
        return found


def _factor(fields: Mapping[str, Tensor]) -> Factor:
    arrays: dict[str, NDArray[Any]] = {key: tensor.numpy() for key, tensor in fields.items()}
    integers, nearest = bool(arrays.pop("integers")), bool(arrays.pop("nearest"))
    names = ("rows", "moment", "widths")
    known: dict[str, NDArray[Any]] = {key: arrays.pop(key) for key in names if key in arrays}
    curvature = Curvature.of_arrays(known) if known else None
    return Factor(**arrays, integers=integers, nearest=nearest, curvature=curvature)
