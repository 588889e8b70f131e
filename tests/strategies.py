"""Data for the tests of the representation: one line here covers a new structure or precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from autocompress import Task
from autocompress.coders import Coder, Codes
from autocompress.encoding.encoder import Encoder
from autocompress.errors import ArtifactError
from autocompress.knowledge.source import Source
from autocompress.outcome.objectives import Split
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import (
    Codebook,
    EntropyStep,
    EqualSlope,
    Float16,
    Float32,
    Precision,
    Trellis,
    Uniform,
)
from autocompress.structures import (
    Dense,
    GroupReduce,
    LowRank,
    Pruned,
    Structure,
    TensorTrain,
    VectorQuantized,
)
from autocompress.testing.samples import SHAPES as SHAPES
from autocompress.testing.samples import frequencies as frequencies

STRUCTURES: tuple[Structure, ...] = (
    Dense(),
    LowRank(rank=1),
    LowRank(rank=5),
    Pruned(sparsity=0.3),
    Pruned(sparsity=0.85),
    Pruned(sparsity=0.6, of=LowRank(rank=3)),
    Pruned(sparsity=0.6, of=TensorTrain(rank=2)),
    Pruned(sparsity=0.6, of=GroupReduce(blocks=1, rank=4)),
    GroupReduce(blocks=1, rank=4),
    TensorTrain(rank=2),
    VectorQuantized(dimension=4, bits=2, parts=2),
)
FOR_MODELS: tuple[Structure, ...] = (
    Dense(),
    LowRank(rank=5),
    GroupReduce(blocks=2, rank=4),
    TensorTrain(rank=3),
    VectorQuantized(dimension=3, bits=4),
    Pruned(sparsity=0.4),
    Pruned(sparsity=0.4, of=LowRank(rank=5)),
    Pruned(sparsity=0.4, of=GroupReduce(blocks=2, rank=4)),
    Pruned(sparsity=0.4, of=TensorTrain(rank=3)),
)
"""For models of width 15 and about forty words."""
PRECISIONS: tuple[Precision, ...] = (
    Float32(),
    Float16(),
    Uniform(bits=2, group="tensor"),
    Uniform(bits=8, group="row"),
    Uniform(bits=4, group=6),
    Uniform(bits=3, group=1000),
    EntropyStep(step=0.1),
    EntropyStep(step=0.5, frequency_exponent=0.5),
    EqualSlope(slope=2e-5),
    Trellis(slope=2e-5),
    Codebook(bits=3),
)

FITTING = [
    pytest.param(structure, shape, id=f"{structure.label()}-{shape[0]}x{shape[1]}")
    for structure in STRUCTURES
    for shape in SHAPES
    if structure.misfit(shape) is None
]
each_fitting = pytest.mark.parametrize(("structure", "shape"), FITTING)
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}x{shape[1]}")
each_precision = pytest.mark.parametrize(
    "precision", PRECISIONS, ids=lambda precision: precision.label()
)


def gaussian(shape: tuple[int, ...], seed: int = 0, scale: float = 1.0) -> NDArray[np.float32]:
    """Return normal values."""
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


class Tiny(nn.Module):
    """A tied language model with a convolution, integer buffers and a scalar."""

    positions: torch.Tensor
    allowed: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(17, 6)
        self.lstm = nn.LSTM(6, 6, num_layers=2)
        self.convolution = nn.Conv1d(6, 6, kernel_size=3, padding=1)
        self.norm = nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 4)
        self.decoder = nn.Linear(6, 17)
        self.decoder.weight = self.embedding.weight
        self.temperature = nn.Parameter(torch.tensor(1.5))
        self.register_buffer("positions", torch.arange(5, dtype=torch.int32))
        self.register_buffer("allowed", torch.tensor([[True, False], [True, True]]))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.lstm(self.norm(self.convolution(self.embedding(tokens).mT)).mT)
        logits: torch.Tensor = self.decoder(hidden) / self.temperature
        logits += self.head(hidden).sum()
        return logits


def tiny_model(seed: int = 1) -> Tiny:
    """Return the tiny model with normal weights, the same for each seed."""
    model = Tiny()
    generator = np.random.default_rng(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            values = generator.standard_normal(tuple(parameter.shape))
            parameter.copy_(torch.as_tensor(values))
    return model


class TinyTask(Task):
    """Knows how often each word occurs, and carries two files."""

    metric = "loss"

    def __init__(self, *, counts: bool = True) -> None:
        self.counts = counts

    def evaluate(self, model: nn.Module, split: Split) -> float:
        del model, split
        return 1.0

    def calibration_batches(self) -> Iterator[torch.Tensor]:
        yield torch.arange(15).reshape(3, 5)

    def row_frequencies(self, model: nn.Module) -> Mapping[str, NDArray[np.float64]]:
        del model
        return {"embedding.weight": frequencies(17)} if self.counts else {}

    def assets(self) -> Mapping[str, bytes]:
        return {"vocab.txt": b"\n".join(b"word%d" % i for i in range(17)), "empty": b""}

    def model_config(self, model: nn.Module) -> Mapping[str, Any] | None:
        del model
        return {"architecture": "tiny", "sizes": [6, 17]}


def tiny_source(*, counts: bool = True) -> Source:
    """Return the tiny model, ready for compression."""
    return Source.of(tiny_model(), TinyTask(counts=counts))


def treat(structure: Structure, precision: Precision) -> Treatment:
    """Return a treatment; the checks of its fields see the concrete classes."""
    return Treatment.model_validate({"structure": structure, "precision": precision})


def mixed_plan() -> CompressionPlan:
    """Return a plan of the tiny model that uses all kinds of everything."""
    exact = treat(Dense(), Float32())
    treatments = dict.fromkeys(tiny_source().weights.weights, exact)
    del treatments["lstm.weight_hh_l0"], treatments["lstm.weight_ih_l1"]
    treatments |= {
        "embedding.weight": treat(Dense(), EntropyStep(step=0.4, frequency_exponent=0.5)),
        "h:lstm.l0": treat(LowRank(rank=2), Float16()),
        "lstm.weight_ih_l0": treat(Pruned(sparsity=0.5), Uniform(bits=3, group=4)),
        "lstm.weight_hh_l1": treat(Pruned(sparsity=0.8), EntropyStep(step=0.3)),
        "convolution.weight": treat(Pruned(sparsity=0.3), Float16()),
        "head.weight": treat(LowRank(rank=1), Float32()),
        "decoder.bias": treat(Dense(), Uniform(bits=4, group="tensor")),
        "lstm.bias_ih_l0": treat(Dense(), Uniform(bits=8, group="row")),
        "norm.weight": treat(Dense(), EntropyStep(step=1.0)),
    }
    return CompressionPlan(treatments=treatments)


def write_mixed(path: Path) -> Path:
    """Write the tiny model by the mixed plan."""
    Encoder(tiny_source()).write(mixed_plan(), path)
    return path


def check_every_byte(coder: Coder, codes: Codes) -> None:
    """Damage each byte of what a coder wrote: an error that is documented, or other codes."""
    data = coder.encode(codes) or b""
    generator = np.random.default_rng(1)
    refused = 0
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= int(generator.integers(1, 256))
        try:
            other = coder.decode(bytes(damaged), codes.shape)
        except ArtifactError:
            refused += 1
        else:
            assert other.shape == codes.shape
            assert np.abs(other).max() < 2**24
    assert 0 < refused < len(data)
