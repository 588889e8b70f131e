"""Artifact -> torch module that computes with the stored factors, where that takes less."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from autocompress.artifact import Artifact
from autocompress.artifact.records import ItemRecord
from autocompress.layers.base import adapter_of
from autocompress.layers.factors import Factors, FromFactors, run_from
from autocompress.structures import Matrix, stacked_shape


def factorized(model: nn.Module, artifact: Artifact) -> nn.Module:
    """Let a filled model run from factors where its weights are stored as such.

    What takes fewer multiplications a vector than the dense weight runs from its factors, in
    layers whose adapter knows how; all else stays dense.

    Args:
        model: A module that holds the artifact's weights.
        artifact: The artifact.
    """
    tensors = model.state_dict(keep_vars=True)
    products: dict[str, FromFactors] = {}
    dense = _rewritten(model)
    for item, values in artifact.factors():
        factors = _factors(item, values, tensors[item.members[0].name])
        # Rows of zeros are in thin factors already; other ones would have to be decoded for them.
        exact = not item.zero_rows or item.treatment.structure.thin(values) is not None
        for member, product in zip(item.members, factors.products, strict=True):
            names = member.name, *member.aliases
            if factors.saves and exact and dense.isdisjoint(names):
                products |= dict.fromkeys(names, product)
    run_from(model, products)
    return model.eval()


def _rewritten(model: nn.Module) -> set[str]:
    """Return the names of weights that modules change as they run, which factors could not."""
    found = set()
    for path, module in model.named_modules(remove_duplicate=False):
        adapter = adapter_of(module)
        if adapter and adapter.rewrites(module):
            found |= {f"{path}.{name}" if path else name for name in adapter.roles(module)}
    return found


def _factors(item: ItemRecord, values: Mapping[str, Matrix], like: Tensor) -> Factors:
    """Return the factors of an entry, of the dtype and on the device of its weight."""
    structure, shapes = item.treatment.structure, [member.shape for member in item.members]
    whole = structure.integer_shapes(stacked_shape(shapes))
    numbers = {
        key: nn.Parameter(torch.tensor(value).to(like), requires_grad=False)
        for key, value in values.items()
        if key not in whole
    }
    return Factors(structure, shapes, {**values, **numbers})
