"""What was found in a model, weight by weight: which layer knows it, and what is not known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from autocompress.knowledge.source import Source
from autocompress.knowledge.weights import Weight
from autocompress.layers.base import LAYERS, Role, adapter_of
from autocompress.layers.copies import plain

_REMEDY_ADAPTER = (
    "no layer adapter knows it: register one for '{layer}' (CONTRIBUTING.md, \"A layer\"), or "
    "use it by `functional.linear`, `embedding`, `bilinear` or a convolution"
)
_REMEDY_LOSSES = "no curvature is measured without `training_losses`: define them in the task"
_REMEDY_GRADIENT = (
    "no gradient reached it in `training_losses`: use it there, by `functional.linear`, "
    "`embedding`, `bilinear` or a convolution, or leave it out of the model"
)


@dataclass(frozen=True)
class WeightDescription:
    """What is known of one weight.

    Attributes:
        name: The first of its names.
        aliases: The others, where it is tied.
        role: What it does.
        adapter: Name of the layer adapter that knows it, such as "conv2d", or None.
        layer: Class of the module that holds it.
        shape: Of the tensor.
        bytes: In single precision.
        is_measured: Whether it is known what errors in it cost; else it is compressed by the
            relative error.
        fewest_bits: Bits for each number that it keeps at least, or 0.
        remedy: Where not enough is known of it, what to do about that; else None.
    """

    name: str
    aliases: tuple[str, ...]
    role: Role
    adapter: str | None
    layer: str
    shape: tuple[int, ...]
    bytes: int
    is_measured: bool
    fewest_bits: int
    remedy: str | None

    @property
    def is_unknown(self) -> bool:
        """Whether no adapter knows it, nor any function that was seen; biases are known."""
        return self.remedy is not None and self.adapter is None


def understood(model: nn.Module, source: Source) -> dict[str, Any]:
    """Return as a JSON object what was found in a model: weights, and what is kept exactly."""
    weights = [vars(one) for one in described(model, source)]
    return {"weights": weights, "exact": sorted(source.weights.buffers)}


def described(model: nn.Module, source: Source) -> tuple[WeightDescription, ...]:
    """Describe all weights of a model, in state-dict order.

    Args:
        model: The model.
        source: The same, calibrated.
    """
    owners = _owners(plain(model))
    return tuple(_described(weight, owners, source) for weight in source.weights.weights.values())


def _owners(model: nn.Module) -> Mapping[str, tuple[str, str | None]]:
    """Return by the name of each parameter the class that holds it, and the adapter."""
    names = {adapter: name for name, adapter in LAYERS.items()}
    found: dict[str, tuple[str, str | None]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        prefix, layer = f"{path}." if path else "", type(module).__name__
        for name, _ in module.named_parameters(recurse=False, remove_duplicate=False):
            found.setdefault(f"{prefix}{name}", (layer, None))
        adapter = adapter_of(module)
        if adapter is None:
            continue
        for name in adapter.roles(module):
            found[f"{prefix}{name}"] = layer, names[type(adapter)]
    return found


def _described(
    weight: Weight, owners: Mapping[str, tuple[str, str | None]], source: Source
) -> WeightDescription:
    names = (weight.name, *weight.aliases)
    known = [owners[name] for name in names if name in owners]
    layer, adapter = next((one for one in known if one[1]), known[0] if known else ("", None))
    measured = source.calibration.curvatures
    return WeightDescription(
        name=weight.name,
        aliases=weight.aliases,
        role=weight.role,
        adapter=adapter,
        layer=layer,
        shape=weight.values.shape,
        bytes=weight.values.nbytes,
        is_measured=weight.name in measured,
        fewest_bits=weight.fewest_bits,
        remedy=_remedy(weight, layer, adapter, source),
    )


def _remedy(weight: Weight, layer: str, adapter: str | None, source: Source) -> str | None:
    measured = source.calibration.curvatures
    if weight.name in measured or weight.role in ("bias", "norm"):
        return None
    if adapter is None:
        return _REMEDY_ADAPTER.format(layer=layer)
    return _REMEDY_GRADIENT if measured else _REMEDY_LOSSES
