"""What the papers did, as plans for a model, and the numbers that they report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Reported:
    """Numbers of a paper.

    Attributes:
        network: What was compressed.
        megabytes: Size after compression by the paper's accounting, or None.
        perplexity: Test perplexity after compression, or None.
        baseline: Test perplexity of the same network before, or None.
    """

    network: str
    megabytes: float | None = None
    perplexity: float | None = None
    baseline: float | None = None

    @property
    def rise(self) -> float | None:
        """Relative change of the perplexity; 0.01 is +1 %."""
        if self.perplexity is None or self.baseline is None:
            return None
        return self.perplexity / self.baseline - 1


@dataclass(frozen=True)
class Method:
    """A row of the papers' tables.

    Attributes:
        key: Name of its folder.
        name: What was done.
        source: Where it is reported.
        plan: How to do the same to a model.
        plain: What is reported without retraining, or None.
        trained: What is reported with retraining, or with training in this form, or None.
        note: What cannot be compared, and why.
    """

    key: str
    name: str
    source: str
    plan: Callable[[Source], CompressionPlan]
    plain: Reported | None = None
    trained: Reported | None = None
    note: str = ""


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


def _eight_bits(source: Source) -> CompressionPlan:
    return _plan(source, {}, Uniform(bits=8, group="tensor"))


def _pruned_output(source: Source) -> CompressionPlan:
    return _plan(source, {_output(source): Pruned(sparsity=0.9)})


def _low_rank_output(source: Source) -> CompressionPlan:
    name = _output(source)
    return _plan(source, {name: _low_rank(source, name, 0.25)})


def _shared_projection(source: Source) -> CompressionPlan:
    """Factorise everything, with one right factor for all that multiply the same hidden state."""
    sites = [site.name for site in source.calibration.sites]
    shared = {weight.name for site in sites for weight in source.members(site)}
    alone = [n for n in (*_outer(source), *_recurrent(source)) if n not in shared]
    structures: dict[str, Structure] = {
        name: _low_rank(source, name, 0.2) for name in (*sites, *alone)
    }
    return _plan(source, structures)


def _in_half_precision(source: Source) -> CompressionPlan:
    treatments = _shared_projection(source).treatments
    return CompressionPlan(
        treatments={
            name: Treatment(structure=treatment.structure, precision=Float16())
            for name, treatment in treatments.items()
        }
    )


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


def _vector_quantized(source: Source) -> CompressionPlan:
    structure = VectorQuantized(dimension=2, bits=8)
    names = (*_outer(source), *_recurrent(source))
    fitting = [name for name in names if structure.misfit(_shape(source, name)) is None]
    return _plan(source, dict.fromkeys(fitting, structure))


def _groups(source: Source, precision: Precision | None = None) -> CompressionPlan:
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


_SMALL = "LSTM 2x200, PTB"
_SLIDES, _JOURNAL = "Grachev et al. 2017", "Grachev et al. 2019"
_OTHER_DATA = "other data, not named"

METHODS: tuple[Method, ...] = (
    Method(
        "8-bit",
        "8-bit quantization",
        f"{_JOURNAL}, table 1",
        _eight_bits,
        plain=Reported(_SMALL, 4.7, 118.232, 117.659),
    ),
    Method(
        "pruned-output",
        "output layer pruned by 90 %",
        f"{_JOURNAL}, table 1",
        _pruned_output,
        plain=Reported(_SMALL, 5.5, 149.310, 117.659),
        trained=Reported(_SMALL, 5.5, 121.123, 117.659),
        note="the paper's 5.5 MB cannot be reproduced: without 90 % of the output layer alone, "
        "2.84 M numbers remain, 11.4 MB before any index; its table lists 0.5 M",
    ),
    Method(
        "low-rank-output",
        "low rank, output layer",
        f"{_JOURNAL}, table 3",
        _low_rank_output,
        trained=Reported(_SMALL, 12.6, 112.065, 117.659),
        note="the paper trains the factors from scratch",
    ),
    Method(
        "shared-projection",
        "low rank, shared projection",
        f"{_JOURNAL}, table 1",
        _shared_projection,
        trained=Reported(_SMALL, 3.712, 136.115, 117.659),
        note="the paper trains the factors from scratch, and does not count the projections",
    ),
    Method(
        "half-precision",
        "shared projection, half precision",
        f"{_SLIDES}, slide table 2",
        _in_half_precision,
        trained=Reported(f"LSTM 2x600, {_OTHER_DATA}", 7.3, 45.0, 43.4),
        note="reported for 2x600 units and other data, from 14.5 MB",
    ),
    Method(
        "tensor-train-output",
        "tensor train, output layer",
        f"{_JOURNAL}, table 3",
        lambda source: _tensor_trains(source, [_output(source)], 0.147),
        trained=Reported(_SMALL, 11.8, 116.588, 117.659),
        note="the paper trains the cores from scratch; its ranks are not given, here the "
        "parameters are as many",
    ),
    Method(
        "tensor-train-layers",
        "tensor train, recurrent layers",
        f"{_JOURNAL}, table 1",
        lambda source: _tensor_trains(source, _recurrent(source), 0.1),
        trained=Reported("LSTM 2x600, PTB", 50.4, 168.639),
        note="reported for 600 units, for which the papers give no uncompressed network",
    ),
    Method(
        "vector-quantized",
        "vector quantization",
        "Thonglek et al., poster",
        _vector_quantized,
        plain=Reported(_SMALL),
        note="the poster reports 23.48 % less 'without significant loss', but neither bits nor "
        "perplexities",
    ),
    Method(
        "group-reduce",
        "GroupReduce 6.6x",
        "Chen et al. 2018",
        _groups,
        trained=Reported("2-layer LSTM, One Billion Words"),
        note="embedding and output layer 6.6 times smaller; reported for those of a model of One "
        "Billion Words, 6 GB, as next to no loss",
    ),
    Method(
        "group-reduce-8-bit",
        "GroupReduce 6.6x + 8 bits",
        "Chen et al. 2018",
        lambda source: _groups(source, Uniform(bits=8, group="row")),
        trained=Reported("2-layer LSTM, One Billion Words"),
        note="embedding and output layer 26 times smaller, reported as next to no loss; which "
        "quantizer is not said in the sources at hand",
    ),
)
