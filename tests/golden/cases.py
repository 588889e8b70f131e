"""The golden cases: small sources and plans that use every kind of content of the format.

All numbers come from numpy's `default_rng(seed).standard_normal`, none from torch. Only the cases
after fine-tuning train for a few steps in torch.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden.stored import Factors, needs_factors
from numpy.typing import NDArray
from torch import nn

from autocompress import Task
from autocompress.encoding.encoder import Encoder
from autocompress.knowledge.calibration import Calibration
from autocompress.knowledge.source import Source
from autocompress.knowledge.weights import ModelWeights, Site, Weight
from autocompress.outcome.objectives import Split
from autocompress.plan import CompressionPlan, Runtime, Treatment
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
from autocompress.recovery import RecoveryBudget, RecoverySettings
from autocompress.recovery.fine_tuning import FineTuning
from autocompress.structures import (
    Curvature,
    Dense,
    Factor,
    GroupReduce,
    LowRank,
    Pruned,
    Structure,
    TensorTrain,
    VectorQuantized,
)

ROWS, COLS = 33, 10
PRECISIONS: Mapping[str, Precision] = {
    "float32": Float32(),
    "float16": Float16(),
    "uniform_tensor": Uniform(bits=2, group="tensor"),
    "uniform_row": Uniform(bits=5, group="row"),
    "uniform_group": Uniform(bits=3, group=4),
    "entropy": EntropyStep(step=0.3),
    "entropy_rows": EntropyStep(step=0.4, frequency_exponent=0.5),
    "equal_slope": EqualSlope(slope=2e-4),
    "equal_slope_diagonal": EqualSlope(slope=0.3),
    "equal_slope_full": EqualSlope(slope=0.3),
    "codebook": Codebook(bits=3),
}
"""By the name of the weight of the source "matrices" that each of them stores."""
UNKNOWN_CURVATURE = ("equal_slope",)
STRUCTURES: Mapping[str, Structure] = {
    "dense": Dense(),
    "low_rank": LowRank(rank=3),
    "low_rank_loss": LowRank(rank=4, fit="loss"),
    "low_rank_loss_full": LowRank(rank=COLS, fit="loss"),
    "pruned": Pruned(sparsity=0.6),
    "pruned_low_rank": Pruned(sparsity=0.4, of=LowRank(rank=3)),
    "pruned_low_rank_loss": Pruned(sparsity=0.4, of=LowRank(rank=4, fit="loss")),
    "pruned_group_reduce": Pruned(sparsity=0.4, of=GroupReduce(blocks=2, rank=3)),
    "pruned_tensor_train": Pruned(sparsity=0.4, of=TensorTrain(rank=3)),
    "group_reduce": GroupReduce(blocks=3, rank=4),
    "group_reduce_single": GroupReduce(blocks=1, rank=2, exponent=0, rounds=0),
    "tensor_train2": TensorTrain(rank=4, modes=2),
    "tensor_train3": TensorTrain(rank=3, modes=3),
    "tensor_train4": TensorTrain(rank=2, modes=4),
    "vector_quantized": VectorQuantized(dimension=5, bits=3),
    "vector_quantized_padded": VectorQuantized(dimension=3, bits=4),
    "vector_quantized_parts": VectorQuantized(dimension=4, bits=3, parts=3),
}
"""By the name of the case that treats all matrices by it."""


@dataclass(frozen=True)
class Case:
    """What a golden file is made of.

    Attributes:
        name: Of the file.
        source_name: Of the stored source.
        source: The model.
        plan: What was written.
        factors: What was written instead of the weights' own factors, or None.
        trained: Whether the factors were fine-tuned, so that no decomposition gives them.
    """

    name: str
    source_name: str
    source: Source
    plan: CompressionPlan
    factors: Factors | None
    trained: bool = False


def all_cases() -> Iterator[Case]:
    """Yield all cases; those of one source follow each other."""
    matrices = _matrices()
    for name, structure in STRUCTURES.items():
        treatments = {
            weight: _treat(structure, precision)
            for weight, precision in PRECISIONS.items()
            if structure.keeps_rows or not precision.needs_row_frequencies
        }
        # Every plan treats every weight.
        left_out = dict.fromkeys(PRECISIONS.keys() - treatments.keys(), _treat(structure))
        yield _case(name, "matrices", matrices, {**treatments, **left_out})
    yield _case("runtimes", "matrices", matrices, _runtimes())
    yield _case("coders", "coders", _coded(), _coder_plan())
    yield _case("shapes", "shapes", *_shapes())
    yield _case("edges", "edges", *_edges())
    yield _case("tied", "tied", *_tied())
    sites = _sites()
    for name, treatments in _site_plans().items():
        yield _case(name, "sites", sites, treatments)
    yield from _recovered()


def added_cases() -> Iterator[Case]:
    """Yield the cases of what came to version 2 later: rows of zeros, and buffers of floats."""
    yield _case("zero_rows", "zero_rows", *_zero_rows())
    yield _case("exact", "exact", *_exact())


def lines_cases() -> Iterator[Case]:
    """Yield the case of files of lines, which came to version 2 later still."""
    yield _case("lines", "lines", *_lines())


def _lines() -> tuple[Source, dict[str, Treatment]]:
    """Return files beside a weight: words by runs in order, and lines of all other sorts.

    The words are so many that counts are halved, of so few letters that few bytes tell them.
    """
    generator = np.random.default_rng(7)
    letters = np.array(list("aaaeeennnnttttt"))
    drawn = ["".join(generator.choice(letters, size)) for size in generator.integers(2, 13, 640)]
    words = dict.fromkeys(word for run in range(5) for word in sorted(drawn[128 * run :][:128]))
    other = ["", "a" * 40, "a" * 39 + "t", "naïve", "\t\0", "Ne'er-9", "日本", "日", "tan", "tan"]
    files = {"vocab.txt": [*other, *words], "notes.txt": ["few"], "wide.txt": ["wide " * 9] * 40}
    assets = {
        name: "".join(f"{line}\n" for line in lines).encode() for name, lines in files.items()
    }
    return _source({"weight": _normal(1, 3, 4)}, assets=assets), {"weight": _treat(Dense())}


def trellis_cases() -> Iterator[Case]:
    """Yield the cases of trellis-coded quantization, by every structure."""
    plain, precision = _normal(1, 40, COLS), Trellis(slope=2e-3)
    masked = plain * (_normal(2, 40, COLS) > 0)
    scales = np.geomspace(30, 0.3, COLS)
    weights = {"plain": plain, "scaled": (scales * plain).astype(np.float32), "zeros": masked}
    curvatures = {
        "plain": _curvature(3, 40, COLS),
        "scaled": _curvature(4, 40, COLS, diagonal=True),
    }
    frequencies = dict.fromkeys(weights, _frequencies(40))
    source = _source(weights, curvatures=curvatures, frequencies=frequencies)
    for name, structure in STRUCTURES.items():
        yield _case(name, "trellis", source, dict.fromkeys(weights, _treat(structure, precision)))


def _zero_rows() -> tuple[Source, dict[str, Treatment]]:
    """Return weights with rows of zeros, first, last, and within, in what does not keep them."""
    level = Codebook(bits=2)
    treatments = {
        "first": _treat(Dense(), level),
        "within": _treat(LowRank(rank=2), Uniform(bits=3, group="tensor")),
        "last": _treat(VectorQuantized(dimension=5, bits=3), Float16()),
        "several": _treat(GroupReduce(blocks=2, rank=3), level),
        "train": _treat(TensorTrain(rank=2), Float32()),
        "kept": _treat(Dense(), Float16()),
        "site": _treat(LowRank(rank=3), level),
    }
    rows = {"first": [0], "within": [3, 4], "last": [11], "train": [0, 2], "kept": [1]}
    rows |= {"several": [0, 1, 5, 11], "member1": [11], "member2": [0, 7]}
    weights = {name: _normal(number, 12, COLS) for number, name in enumerate(rows)}
    for name, zero in rows.items():
        weights[name][zero] = 0
    return _source(weights, sites=(Site("site", ("member1", "member2")),)), treatments


def _exact() -> tuple[Source, dict[str, Treatment]]:
    """Return buffers of floating-point and complex numbers beside a weight."""
    buffers: dict[str, NDArray[Any]] = {
        "mask": np.triu(np.full((3, 3), -np.inf, np.float32), 1),
        "mean": np.array([1e-30, 3e38, np.nan], np.float32),
        "scale": np.array(0.1, np.float64),
        "half": np.array([[65504, -0.0]], np.float16),
        "rotation": np.array([1j, -1 + 0j], np.complex64),
        "nothing": np.zeros((0, 2), np.float32),
        "packed:mask": np.triu(np.full((2, 12, 12), -np.inf, np.float32), 1),
        "packed_ids": np.arange(256, dtype=np.int64),
    }
    return _source({"weight": _normal(1, 3, 4)}, buffers=buffers), {"weight": _treat(Dense())}


def _case(
    name: str, source_name: str, source: Source, treatments: Mapping[str, Treatment]
) -> Case:
    plan = CompressionPlan(treatments=dict(treatments))
    factors = None
    if needs_factors(plan):
        factors = {n: Encoder(source).factorize(n, t) for n, t in plan.treatments.items()}
    return Case(name, source_name, source, plan, factors)


def _treat(
    structure: Structure, precision: Precision | None = None, runtime: Runtime = "float32"
) -> Treatment:
    fields = {"structure": structure, "precision": precision or Float32(), "runtime": runtime}
    return Treatment.model_validate(fields)


def _normal(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _frequencies(rows: int) -> NDArray[np.float64]:
    """Return counts that fall as those of words do; the last row never occurs."""
    counts: NDArray[np.float64] = np.floor(1000 / np.arange(1, rows + 1))
    counts[-1] = 0
    return counts


def _curvature(seed: int, rows: int, cols: int, *, diagonal: bool = False) -> Curvature:
    """Return sensitivities that differ a lot, and a moment with correlations."""
    vectors = _normal(seed, 3 * cols, cols).astype(np.float64) * np.linspace(0.3, 3, cols)
    vectors += vectors[:, :1] / 2
    moment = vectors.T @ vectors / len(vectors)
    sensitivities = np.square(_normal(seed + 1, rows).astype(np.float64)) + 0.05
    return Curvature(sensitivities, np.diag(moment).copy() if diagonal else moment)


def _source(
    weights: Mapping[str, NDArray[np.float32]],
    *,
    aliases: Mapping[str, tuple[str, ...]] | None = None,
    frequencies: Mapping[str, NDArray[np.float64]] | None = None,
    curvatures: Mapping[str, Curvature] | None = None,
    sites: tuple[Site, ...] = (),
    buffers: Mapping[str, NDArray[Any]] | None = None,
    model_config: Mapping[str, Any] | None = None,
    assets: Mapping[str, bytes] | None = None,
) -> Source:
    digest = hashlib.sha256()
    for name, values in {**weights, **(buffers or {})}.items():
        digest.update(f"{name} {values.dtype} {values.shape}\n".encode() + values.tobytes())
    found = {
        name: Weight(name, (aliases or {}).get(name, ()), "other", values)
        for name, values in weights.items()
    }
    return Source(
        ModelWeights(found, buffers or {}, digest.hexdigest()),
        Calibration(frequencies or {}, sites, curvatures or {}),
        model_config,
        assets or {},
    )


def _matrices() -> Source:
    """Return matrices of one shape, one for each precision, and nothing else in the file."""
    names = enumerate(PRECISIONS)
    scale = np.linspace(2, 0.5, ROWS, dtype=np.float32)[:, None]
    return _source(
        {name: scale * _normal(seed, ROWS, COLS) for seed, name in names},
        frequencies=dict.fromkeys(PRECISIONS, _frequencies(ROWS)),
        curvatures={
            name: _curvature(100 + seed, ROWS, COLS, diagonal=name == "equal_slope_diagonal")
            for seed, name in enumerate(PRECISIONS)
            if name not in UNKNOWN_CURVATURE
        },
    )


def _runtimes() -> dict[str, Treatment]:
    """Return a plan whose weights run in different numbers."""
    runtimes: tuple[Runtime, ...] = ("int8", "int4", "float32")
    return {
        name: _treat(Dense(), precision, runtimes[number % 3])
        for number, (name, precision) in enumerate(PRECISIONS.items())
    }


_ROW_SCALES = 8.0 ** np.linspace(-1.5, 1.5, 96)[:, None]


def _coded() -> Source:
    """Return matrices each of which another coder writes shortest, by `_coder_plan`."""
    halves = np.repeat([0.05, 4.0], 12)[:, None]
    columns = np.geomspace(30, 0.3, 24)
    weights = {
        "packed": _normal(1, 7, 5),
        "packed.wide": np.geomspace(1e-3, 3e4, 60).reshape(12, 5).astype(np.float32),
        "entropy.single": _normal(2, 24, 60),
        "entropy.classes": (halves * _normal(3, 24, 60)).astype(np.float32),
        "entropy.one_level": np.zeros((24, 60), dtype=np.float32),
        "contexts": (_ROW_SCALES * columns * _normal(4, 96, 24)).astype(np.float32),
        "contexts.low_bits": (_ROW_SCALES * columns * _normal(5, 96, 24)).astype(np.float32),
        "contexts.curved": _normal(6, 96, 24),
        "contexts.masked": (_ROW_SCALES * _normal(7, 96, 24)).astype(np.float32),
    }
    return _source(
        weights, curvatures={"contexts.curved": _curvature(60, 96, 24)}, model_config={}
    )


def _coder_plan() -> dict[str, Treatment]:
    return {
        "packed": _treat(Dense(), EntropyStep(step=0.1)),
        "packed.wide": _treat(Dense(), EntropyStep(step=1e-5)),
        "entropy.single": _treat(Dense(), EntropyStep(step=0.6)),
        "entropy.classes": _treat(Dense(), EntropyStep(step=0.2)),
        "entropy.one_level": _treat(Dense(), EntropyStep(step=0.2)),
        "contexts": _treat(Dense(), EntropyStep(step=0.1)),
        "contexts.low_bits": _treat(Dense(), EntropyStep(step=1e-3)),
        "contexts.curved": _treat(Dense(), EqualSlope(slope=0.3)),
        "contexts.masked": _treat(Pruned(sparsity=0.7), Float16()),
    }


def _shapes() -> tuple[Source, dict[str, Treatment]]:
    """Return a scalar, a vector, and weights of convolutions, in all precisions."""
    shapes: dict[str, tuple[int, ...]] = {
        "scalar": (),
        "vector": (9,),
        "convolution1d": (5, 4, 3),
        "convolution2d": (4, 3, 2, 2),
    }
    weights: dict[str, NDArray[np.float32]] = {}
    treatments: dict[str, Treatment] = {}
    for shape_name, shape in shapes.items():
        for precision_name, precision in PRECISIONS.items():
            if precision.needs_row_frequencies:
                continue
            name = f"{shape_name}.{precision_name}"
            weights[name] = np.asarray(_normal(len(weights), *shape))
            prunes = shape_name == "convolution1d" and precision_name.startswith(("u", "c"))
            treatments[name] = _treat(Pruned(sparsity=0.3) if prunes else Dense(), precision)
    weights["convolution1d.low_rank"] = _normal(98, 5, 4, 3)
    treatments["convolution1d.low_rank"] = _treat(LowRank(rank=2), Float16())
    return _source(weights, model_config={"architecture": "shapes", "sizes": [9, 5]}), treatments


def _edges() -> tuple[Source, dict[str, Treatment]]:
    """Return zeros, constants, extreme magnitudes, and a matrix with one value that survives."""
    wide_row = _normal(1, 4, 7)
    wide_row[1] *= 1000
    extremes = np.array([[65504, -65504, 6e-8, 0], [-0.0, 1, -1, 2**-14]], dtype=np.float32)
    matrices = {
        "zeros": np.zeros((3, 7), dtype=np.float32),
        "constant": np.full((3, 7), -1.7, dtype=np.float32),
        "wide_row": wide_row,
        "extremes": extremes,
        "one": np.full((1, 1), 0.3, dtype=np.float32),
    }
    precisions = {n: p for n, p in PRECISIONS.items() if not p.needs_row_frequencies}
    precisions["uniform_beyond"] = Uniform(bits=8, group=1000)
    weights: dict[str, NDArray[np.float32]] = {}
    treatments: dict[str, Treatment] = {}
    for matrix_name, matrix in matrices.items():
        for precision_name, precision in precisions.items():
            name = f"{matrix_name}.{precision_name}"
            weights[name], treatments[name] = matrix, _treat(Dense(), precision)
    survivor = _normal(2, 3, 7)
    for precision_name, precision in precisions.items():
        name = f"survivor.{precision_name}"
        weights[name], treatments[name] = survivor, _treat(Pruned(sparsity=0.95), precision)
    huge = np.full((2, 3), 3e38, dtype=np.float32)
    huge[0, 0] = 1e-45
    weights["huge.float32"], treatments["huge.float32"] = huge, _treat(Dense())
    curvatures = {
        name: Curvature(np.ones(matrix.shape[0]), np.diag(np.arange(1.0, matrix.shape[1] + 1)))
        for name, matrix in weights.items()
        if name.endswith("equal_slope_full")
    }
    return _source(weights, curvatures=curvatures), treatments


def _tied() -> tuple[Source, dict[str, Treatment]]:
    """Return tied weights, buffers of all kinds, files beside them, and a description."""
    weights = {
        "encoder.weight": _normal(1, 34, 6),
        "lstm.weight": _normal(2, 8, 6),
        "norm": _normal(3, 6),
        "temperature": np.asarray(_normal(4)),
    }
    buffers: dict[str, NDArray[Any]] = {
        "positions": np.arange(5, dtype=np.int32),
        "ids": np.array([[2**40, -1], [0, 7]], dtype=np.int64),
        "allowed": np.array([[True, False, True]]),
        "bytes": np.arange(250, 256, dtype=np.uint8),
        "small": np.array([-128, 127], dtype=np.int8),
        "short": np.array([-(2**15), 5], dtype=np.int16),
        "batches": np.array(12, dtype=np.int64),
        "flag": np.array(True),
        "nothing": np.zeros((0, 3), dtype=np.int64),
    }
    buffers["tied_positions"] = buffers["positions"]
    words = b"\n".join(b"word%d" % number for number in range(34))
    source = _source(
        weights,
        aliases={"encoder.weight": ("decoder.weight", "other.weight"), "norm": ("norm2",)},
        frequencies={"encoder.weight": _frequencies(34)},
        curvatures={"encoder.weight": _curvature(50, 34, 6)},
        buffers=buffers,
        model_config={
            "architecture": "tied",
            "sizes": [34, 6],
            "nested": {"dropout": 0.25, "name": "größe", "none": None, "yes": True},
        },
        assets={"vocab.txt": words, "empty": b"", "zeros.bin": bytes(5000)},
    )
    treatments = {
        "encoder.weight": _treat(Dense(), EntropyStep(step=0.2, frequency_exponent=1.0)),
        "lstm.weight": _treat(Pruned(sparsity=0.5), Codebook(bits=2)),
        "norm": _treat(Dense(), Float16()),
        "temperature": _treat(Dense()),
    }
    return source, treatments


def _sites() -> Source:
    """Return four sites; of the last one, the curvature of a member is not known."""
    weights: dict[str, NDArray[np.float32]] = {}
    sites: list[Site] = []
    frequencies: dict[str, NDArray[np.float64]] = {}
    curvatures: dict[str, Curvature] = {}
    for number in range(4):
        members = [f"lstm.weight_hh_l{number}", f"lstm.weight_ih_l{number + 1}"]
        members += ["decoder.weight"] if number == 3 else []
        sites.append(Site(f"h:lstm.l{number}", tuple(members)))
        for member in members:
            rows = 33 if member == "decoder.weight" else 20
            seed = len(weights)
            weights[member] = _normal(seed, rows, 7)
            curvatures[member] = _curvature(100 + seed, rows, 7)
            if number == 0:
                frequencies[member] = _frequencies(rows)
    del curvatures["decoder.weight"]
    return _source(
        weights,
        aliases={"decoder.weight": ("embedding.weight",)},
        frequencies=frequencies,
        curvatures=curvatures,
        sites=tuple(sites),
        model_config={"architecture": "sites"},
    )


def _site_plans() -> dict[str, dict[str, Treatment]]:
    loss = LowRank(rank=4, fit="loss")
    shared = {
        "h:lstm.l0": _treat(LowRank(rank=3), EntropyStep(step=0.2, frequency_exponent=0.5)),
        "h:lstm.l1": _treat(loss, EqualSlope(slope=0.3)),
        "h:lstm.l2": _treat(Pruned(sparsity=0.3, of=loss), EqualSlope(slope=0.3)),
        "h:lstm.l3": _treat(loss, EqualSlope(slope=2e-4)),  # falls back to the elements
    }
    others = {
        "h:lstm.l0": _treat(GroupReduce(blocks=2, rank=3), Codebook(bits=4)),
        "h:lstm.l1": _treat(VectorQuantized(dimension=3, bits=3), Uniform(bits=4)),
        "h:lstm.l2": _treat(TensorTrain(rank=3), Float16(), "int8"),
        "h:lstm.l3": _treat(Pruned(sparsity=0.5), Uniform(bits=3, group=3)),
    }
    exact = {
        "h:lstm.l0": _treat(Dense(), EntropyStep(step=0.2, frequency_exponent=0.5)),
        "h:lstm.l1": _treat(Dense(), EqualSlope(slope=0.3)),
        "h:lstm.l2": _treat(Pruned(sparsity=0.5), EqualSlope(slope=0.3)),
        "lstm.weight_hh_l3": _treat(Dense(), EqualSlope(slope=0.3)),
        "lstm.weight_ih_l4": _treat(Dense(), Float32()),
        "decoder.weight": _treat(Dense(), Codebook(bits=4), "int4"),
    }
    return {"sites_shared": shared, "sites_others": others, "sites_exact": exact}


class _Net(nn.Module):
    """A small classifier, to be fine-tuned."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(36, 8)
        self.lstm = nn.LSTM(8, 8, batch_first=True)
        self.head = nn.Linear(8, 5)
        generator = np.random.default_rng(0)
        with torch.no_grad():
            for parameter in self.parameters():
                values = generator.standard_normal(tuple(parameter.shape))
                parameter.copy_(torch.as_tensor(values))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.lstm(self.embedding(tokens))
        logits: torch.Tensor = self.head(hidden[:, -1])
        return logits


class _Imitation(Task):
    """Trains the small classifier to say what it said before."""

    metric = "loss"

    def evaluate(self, model: nn.Module, split: Split) -> float:
        del model, split
        return 1.0

    def calibration_batches(self) -> Iterator[torch.Tensor]:
        yield self._batches(1)[0]

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[torch.Tensor]:
        del distillation
        for batch in self._batches(seed):
            yield nn.functional.mse_loss(model(batch), 0.8 * teacher(batch))

    def row_frequencies(self, model: nn.Module) -> Mapping[str, NDArray[np.float64]]:
        del model
        return {"embedding.weight": _frequencies(36)}

    def _batches(self, seed: int) -> list[torch.Tensor]:
        tokens = np.random.default_rng(seed).integers(36, size=(64, 16, 6))
        return list(torch.as_tensor(tokens))


def _recovered() -> Iterator[Case]:
    """Yield cases of numbers that were trained, as `factors`, in what the file stores."""
    model, task = _Net(), _Imitation()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        source = Source.of(model, task)
    pairs: dict[str, tuple[Structure, Precision]] = {
        "equal_slope": (Dense(), EqualSlope(slope=1e-4)),
        "codebook": (Dense(), Codebook(bits=3)),
        "pruned_codebook": (Pruned(sparsity=0.5), Codebook(bits=3)),
        "low_rank_entropy": (LowRank(rank=3), EntropyStep(step=0.2)),
        "low_rank_equal_slope": (LowRank(rank=5, fit="loss"), EqualSlope(slope=1e-4)),
        "uniform": (Dense(), Uniform(bits=4)),
        "vector_quantized": (VectorQuantized(dimension=3, bits=3), Float16()),
    }
    for name, (structure, precision) in pairs.items():
        treatments = {
            weight: _treat(structure if ".weight" in weight else Dense(), precision)
            if "bias" not in weight
            else _treat(Dense(), Float16())
            for weight in source.weights.weights
        }
        settings = RecoverySettings(RecoveryBudget(steps=12), dropout=0.0, segments=2)
        plan = CompressionPlan(treatments=treatments)
        with tempfile.TemporaryDirectory() as folder:
            run = FineTuning(model.eval(), task, source, plan, settings, Path(folder) / "none")
            for _ in range(settings.segments):
                run.train_segment()
        factors: dict[str, dict[str, Factor]] = {
            entry: dict(found) for entry, found in run.represented.factors().items()
        }
        yield Case(
            f"recovered_{name}", "recovered", source, run.represented.plan, factors, trained=True
        )
