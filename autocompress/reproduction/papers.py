"""What the papers did, and the numbers that they report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autocompress.knowledge.source import Source
from autocompress.plan import CompressionPlan
from autocompress.precisions import Uniform
from autocompress.reproduction.plans import (
    eight_bits,
    groups,
    in_half_precision,
    low_rank_output,
    pruned_output,
    shared_projection,
    tensor_train_layers,
    tensor_train_output,
    vector_quantized,
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


_SMALL = "LSTM 2x200, PTB"
_SLIDES, _JOURNAL = "Grachev et al. 2017", "Grachev et al. 2019"
_OTHER_DATA = "other data, not named"

METHODS: tuple[Method, ...] = (
    Method(
        "8-bit",
        "8-bit quantization",
        f"{_JOURNAL}, table 1",
        eight_bits,
        plain=Reported(_SMALL, 4.7, 118.232, 117.659),
    ),
    Method(
        "pruned-output",
        "output layer pruned by 90 %",
        f"{_JOURNAL}, table 1",
        pruned_output,
        plain=Reported(_SMALL, 5.5, 149.310, 117.659),
        trained=Reported(_SMALL, 5.5, 121.123, 117.659),
        note="the paper's 5.5 MB cannot be reproduced: without 90 % of the output layer alone, "
        "2.84 M numbers remain, 11.4 MB before any index; its table lists 0.5 M",
    ),
    Method(
        "low-rank-output",
        "low rank, output layer",
        f"{_JOURNAL}, table 3",
        low_rank_output,
        trained=Reported(_SMALL, 12.6, 112.065, 117.659),
        note="the paper trains the factors from scratch",
    ),
    Method(
        "shared-projection",
        "low rank, shared projection",
        f"{_JOURNAL}, table 1",
        shared_projection,
        trained=Reported(_SMALL, 3.712, 136.115, 117.659),
        note="the paper trains the factors from scratch, and does not count the projections",
    ),
    Method(
        "half-precision",
        "shared projection, half precision",
        f"{_SLIDES}, slide table 2",
        in_half_precision,
        trained=Reported(f"LSTM 2x600, {_OTHER_DATA}", 7.3, 45.0, 43.4),
        note="reported for 2x600 units and other data, from 14.5 MB",
    ),
    Method(
        "tensor-train-output",
        "tensor train, output layer",
        f"{_JOURNAL}, table 3",
        tensor_train_output,
        trained=Reported(_SMALL, 11.8, 116.588, 117.659),
        note="the paper trains the cores from scratch; its ranks are not given, here the "
        "parameters are as many",
    ),
    Method(
        "tensor-train-layers",
        "tensor train, recurrent layers",
        f"{_JOURNAL}, table 1",
        tensor_train_layers,
        trained=Reported("LSTM 2x600, PTB", 50.4, 168.639),
        note="reported for 600 units, for which the papers give no uncompressed network",
    ),
    Method(
        "vector-quantized",
        "vector quantization",
        "Thonglek et al., poster",
        vector_quantized,
        plain=Reported(_SMALL),
        note="the poster reports 23.48 % less 'without significant loss', but neither bits nor "
        "perplexities",
    ),
    Method(
        "group-reduce",
        "GroupReduce 6.6x",
        "Chen et al. 2018",
        groups,
        trained=Reported("2-layer LSTM, One Billion Words"),
        note="embedding and output layer 6.6 times smaller; reported for those of a model of One "
        "Billion Words, 6 GB, as next to no loss",
    ),
    Method(
        "group-reduce-8-bit",
        "GroupReduce 6.6x + 8 bits",
        "Chen et al. 2018",
        lambda source: groups(source, Uniform(bits=8, group="row")),
        trained=Reported("2-layer LSTM, One Billion Words"),
        note="embedding and output layer 26 times smaller, reported as next to no loss; which "
        "quantizer is not said in the sources at hand",
    ),
)
