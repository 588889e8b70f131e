"""What was found in a model, in a line or two: so that a user sees at once what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from torch import nn

from autocompress.knowledge.description import WeightDescription, described
from autocompress.knowledge.source import Source

_SHOWN = 4
_UNITS = ((10**9, " G"), (10**6, " M"), (10**3, " k"))


def overview(model: nn.Module, source: Source) -> list[str]:
    """Say what a model consists of: tensors by layer, ties, exact ones, and what is unknown.

    Args:
        model: The model.
        source: The same, calibrated.
    """
    known = described(model, source)
    layers = Counter(_kind(one) for one in known)
    numbers = sum(weight.values.size for weight in source.weights.weights.values())
    by_layer = ", ".join(_several(*each) for each in layers.most_common())
    lines = [
        f"found in the model: {_counted(numbers)} numbers in {len(known)} tensors: {by_layer}"
    ]
    tied = [" = ".join((one.name, *one.aliases)) for one in known if one.aliases]
    parts = [f"tied: {_listed(tied)}"] if tied else []
    if source.weights.buffers:
        parts.append(f"kept exactly: {_listed(list(source.weights.buffers))}")
    if parts:
        lines.append("; ".join(parts))
    remedies: dict[str, list[str]] = {}
    for one in known:
        if one.remedy is not None:
            remedies.setdefault(one.remedy, []).append(one.name)
    return [*lines, *_unknown(remedies)]


def _kind(one: WeightDescription) -> str:
    return "bias" if one.role == "bias" else (one.adapter or one.layer).replace("_", " ")


def _several(kind: str, count: int) -> str:
    if kind == "bias":
        return f"{count} {kind}{'es' * (count > 1)}"
    return f"{count} of {kind}"


def _unknown(remedies: Mapping[str, Sequence[str]]) -> list[str]:
    return [
        f"compressed by relative error alone: {_listed(names)}: {remedy}"
        for remedy, names in remedies.items()
    ]


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _counted(numbers: int) -> str:
    for factor, unit in _UNITS:
        if numbers >= factor:
            return f"{numbers / factor:.3g}{unit}"
    return str(numbers)
