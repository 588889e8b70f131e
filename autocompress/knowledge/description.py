"""What was found in a model, in a line or two: so that a user sees at once what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from autocompress.knowledge.source import Source

_SHOWN = 4
_MATRIX = 2


def described(source: Source) -> list[str]:
    """Say what a model consists of: its weights by role, ties, exact tensors, and the unknown.

    A matrix is of unknown use if no layer that is known has it, and no curvature shows what its
    errors cost.
    """
    weights = source.weights.weights
    roles = Counter(weight.role for weight in weights.values())
    numbers = sum(weight.values.size for weight in weights.values())
    found = [
        f"{count} {role}" for role, count in roles.most_common() if role not in ("bias", "other")
    ]
    found += [f"{roles[role]} {name}" for role, name in _LAST.items() if roles[role]]
    line = f"found in the model: {_counted(numbers)} numbers in {len(weights)} tensors ("
    lines = [f"{line}{', '.join(found)})"]
    tied = [f"{weight.name} = {' = '.join(weight.aliases)}" for weight in weights.values()
            if weight.aliases]  # fmt: skip
    parts = [f"tied: {_listed(tied)}"] if tied else []
    if source.weights.buffers:
        parts.append(f"kept exactly: {_listed(list(source.weights.buffers))}")
    if parts:
        lines.append("; ".join(parts))
    unknown = [
        weight.name
        for weight in weights.values()
        if weight.role == "other"
        and weight.values.ndim >= _MATRIX
        and weight.name not in source.calibration.curvatures
    ]
    if unknown:
        lines.append(
            f"of unknown use, and compressed by relative error alone: {_listed(unknown)}; "
            "a layer adapter can tell more of them"
        )
    return lines


_LAST = {"bias": "bias", "other": "of other use"}


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _counted(numbers: int) -> str:
    for factor, unit in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if numbers >= factor:
            return f"{numbers / factor:.3g}{unit}"
    return str(numbers)
