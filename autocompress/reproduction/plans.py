"""The papers' methods as plans for a model."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from autocompress.errors import ModelError
from autocompress.knowledge.source import Source
from autocompress.knowledge.weights import Weight
from autocompress.layers.base import Role
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import Float16, Float32, Precision, Uniform
from autocompress.structures import (
    Dense,
    GroupReduce,
    LowRank,
    Pruned,
    Shape,
    Structure,
    TensorTrain,
    VectorQuantized,
)


def _plan(
    source: Source,
    structures: dict[str, Structure],
    precision: Precision | None = None,
) -> CompressionPlan:
    """Return a plan with these structures by weight or site, all else dense."""
    shared = {weight.name for name in structures for weight in source.members(name)}
    entries: dict[str, Structure] = dict(structures)
    entries |= {name: Dense() for name in source.weights.weights if name not in shared}
    numbers = precision or Float32()
    return CompressionPlan(
        treatments={
            name: Treatment(structure=structure, precision=numbers)
            for name, structure in entries.items()
        }
    )


def _output(source: Source) -> str:
    """Return the name of the output layer's weight, which of a tied model is the embedding's.

    It scores what embeddings look up: a linear layer of which the task knows how often each row
    is used; or else the same weight as an embedding, or one of as many rows.
    """
    linear = _of_role(source, "linear")
    embeddings = _of_role(source, "embedding")
    counted = source.calibration.row_frequencies
    looked_up = {len(weight.matrix) for weight in embeddings}
    for found in (
        [weight for weight in linear if weight.name in counted],
        [weight for weight in embeddings if weight.aliases],
        [weight for weight in linear if len(weight.matrix) in looked_up],
    ):
        if found:
            return found[-1].name
    raise ModelError(
        "the papers' methods need a model with an output layer: a linear layer with "
        "`Task.row_frequencies`, or one that is tied to an embedding, or has as many rows as one; "
        f"but this model has only: {', '.join(source.weights.weights)}"
    )


def _outer(source: Source) -> list[str]:
    """Return the names of embedding and output layer, one if they are tied."""
    embeddings = [weight.name for weight in _of_role(source, "embedding")]
    return list(dict.fromkeys([*embeddings, _output(source)]))


def _recurrent(source: Source) -> list[str]:
    return [weight.name for weight in _of_role(source, "input", "recurrent")]


def _of_role(source: Source, *roles: Role) -> list[Weight]:
    return [weight for weight in source.weights.weights.values() if weight.role in roles]


def _shape(source: Source, name: str) -> Shape:
    rows = sum(weight.matrix.shape[0] for weight in source.members(name))
    return rows, source.members(name)[0].matrix.shape[1]


def _low_rank(source: Source, name: str, share: float) -> LowRank:
    return LowRank(rank=max(1, round(share * min(_shape(source, name)))))


def eight_bits(source: Source) -> CompressionPlan:
    """Store everything in 8 bits, in one scale a tensor."""
    return _plan(source, {}, Uniform(bits=8, group="tensor"))


def pruned_output(source: Source) -> CompressionPlan:
    """Set 90 % of the output layer to zero."""
    return _plan(source, {_output(source): Pruned(sparsity=0.9)})


def low_rank_output(source: Source) -> CompressionPlan:
    """Give the output layer a quarter of its rank."""
    name = _output(source)
    return _plan(source, {name: _low_rank(source, name, 0.25)})


def shared_projection(source: Source) -> CompressionPlan:
    """Factorise everything, with one right factor for all that multiply the same hidden state."""
    sites = [site.name for site in source.calibration.sites]
    shared = {weight.name for site in sites for weight in source.members(site)}
    alone = [n for n in (*_outer(source), *_recurrent(source)) if n not in shared]
    structures: dict[str, Structure] = {
        name: _low_rank(source, name, 0.2) for name in (*sites, *alone)
    }
    return _plan(source, structures)


def in_half_precision(source: Source) -> CompressionPlan:
    """Store the factors of the shared projection in half precision."""
    treatments = shared_projection(source).treatments
    return CompressionPlan(
        treatments={
            name: Treatment(structure=treatment.structure, precision=Float16())
            for name, treatment in treatments.items()
        }
    )


def tensor_train_output(source: Source) -> CompressionPlan:
    """Make the output layer a tensor train of as many parameters as the paper's."""
    return _tensor_trains(source, [_output(source)], 0.147)


def tensor_train_layers(source: Source) -> CompressionPlan:
    """Make the recurrent layers tensor trains of a tenth of the parameters."""
    return _tensor_trains(source, _recurrent(source), 0.1)


def _tensor_trains(source: Source, names: Iterable[str], share: float) -> CompressionPlan:
    return _plan(source, {name: _train_of(_shape(source, name), share) for name in names})


def _train_of(shape: Shape, share: float) -> TensorTrain:
    """Return the tensor train of three cores with the most parameters up to a share."""
    integers = {"shape": np.array([shape], dtype=np.float32)}
    best, rank = TensorTrain(rank=1), 1
    while (train := TensorTrain(rank=rank)).misfit(shape) is None:
        sizes = train.factor_shapes(shape, integers).values()
        if sum(rows * cols for rows, cols in sizes) > share * shape[0] * shape[1]:
            break
        best, rank = train, rank + 1
    return best


def vector_quantized(source: Source) -> CompressionPlan:
    """Quantize pairs of numbers to one of 256, in every matrix."""
    structure = VectorQuantized(dimension=2, bits=8)
    names = (*_outer(source), *_recurrent(source))
    fitting = [name for name in names if structure.misfit(_shape(source, name)) is None]
    return _plan(source, dict.fromkeys(fitting, structure))


def groups(source: Source, precision: Precision | None = None) -> CompressionPlan:
    """Compress embedding and output layer 6.6 times, as GroupReduce's headline does."""
    structures: dict[str, Structure] = {}
    for name in _outer(source):
        rows, cols = _shape(source, name)
        rank = max(1, int(rows * cols / 6.6 / (rows + cols)))
        structures[name] = GroupReduce(rank=rank, exponent=1.0)
    plan = _plan(source, structures)
    if precision is None:
        return plan
    coarse = {
        name: Treatment(structure=plan.treatments[name].structure, precision=precision)
        for name in structures
    }
    return CompressionPlan(treatments={**plan.treatments, **coarse})
