"""File size against perplexity: this tool, plain quantization, ONNX Runtime, rank and pruning.

    pip install '.[benchmarks]'
    python benchmarks/rate_distortion.py MODEL DATA

Every point is a file that was written to disk: its length is taken, the model is reloaded from
it, and its perplexity measured over the whole validation set; graphs run in ONNX Runtime. A file
under zstd is unpacked again and compared. Writes `benchmarks/results/rate_distortion.json`, then
draws the picture (see `rate_distortion_picture.py`), to which `benchmarks/results/recovery.json`
adds what was retrained.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import zstandard
from fitting import fitted_plan
from onnx_models import OnnxModel, quantize_int4, quantize_int8, write_graph
from plain_files import read_plain, write_plain
from ptb_small import RESULTS
from rate_distortion_picture import (
    FITTED,
    LOW_RANK,
    LOW_RANK_8,
    ORT_4,
    ORT_8,
    PLAIN_4,
    PLAIN_8,
    PRUNED,
    UNCOMPRESSED,
    Point,
    draw,
)
from torch import nn

from autocompress.artifact import open_artifact
from autocompress.encoding.encoder import uncompressed_plan
from autocompress.lm import (
    Corpus,
    LanguageModel,
    LanguageModeling,
    load_model,
    perplexity,
    read_corpus,
)
from autocompress.outcome.limits import Budget
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import Float16, Float32, Precision, Uniform
from autocompress.structures import Dense, LowRank, Pruned, Structure
from autocompress.trial.evaluator import Evaluator

BUDGETS = (
    "300kB",
    "400kB",
    "500kB",
    "650kB",
    "800kB",
    "1MB",
    "1.25MB",
    "1.5MB",
    "2MB",
    "3MB",
)
RANKS = (12, 25, 50, 100, 150)
SPARSITIES = (0.5, 0.7, 0.9)
_ZSTD_LEVEL = 19
_RUNTIME_TOLERANCE = 1e-4


def main() -> None:
    """Measure all files and draw them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    arguments = parser.parse_args()
    model, vocabulary = load_model(arguments.model)
    corpus = read_corpus(arguments.data, vocabulary)
    points = []
    with TemporaryDirectory() as folder:
        own = own_points(model, corpus, Path(folder))
        others = other_points(model, corpus, Path(folder))
        for found in (own, others):
            for point in found:
                print(f"{point.series}, {point.name}: {point.size_bytes:,} {point.valid:.2f}")
                points.append(point)
        assets = open_artifact(Path(folder) / "model.acz").accounting()["assets"]
    document = {"vocabulary_bytes": assets, "points": [asdict(point) for point in points]}
    (RESULTS / "rate_distortion.json").write_text(json.dumps(document, indent=1) + "\n")
    draw(RESULTS)


def own_points(model: LanguageModel, corpus: Corpus, folder: Path) -> Iterator[Point]:
    """Measure what this tool writes: its own plans, low rank and pruning."""
    evaluator = Evaluator.of(model, LanguageModeling(corpus))
    source = evaluator.source

    def measured(series: str, name: str, plan: CompressionPlan) -> Point:
        result = evaluator.run(0, plan, folder / "model.acz")
        return Point(series, name, result.size_bytes, result.values["perplexity"])

    yield measured(UNCOMPRESSED, "as it is", uncompressed_plan(source))
    for budget in BUDGETS:
        yield measured(FITTED, budget, fitted_plan(source, Budget.parse(budget)))
    for rank in RANKS:
        structure = LowRank(rank=rank)
        yield measured(LOW_RANK, f"rank {rank}", outer_plan(evaluator, structure, Float32()))
        plan = outer_plan(evaluator, structure, Uniform(bits=8, group="tensor"))
        yield measured(LOW_RANK_8, f"rank {rank}", plan)
    for sparsity in SPARSITIES:
        plan = outer_plan(evaluator, Pruned(sparsity=sparsity), Uniform(bits=8, group="tensor"))
        yield measured(PRUNED, f"{sparsity:.0%}", plan)


def outer_plan(
    evaluator: Evaluator, structure: Structure, precision: Precision
) -> CompressionPlan:
    """Give embedding and output layer a structure, and all matrices a precision.

    Vectors are single precision where all is, half precision elsewhere.
    """
    exact = isinstance(precision, Float32)
    treatments = {}
    for name, weight in evaluator.source.weights.weights.items():
        chosen = structure if weight.role in ("embedding", "linear") else Dense()
        kept = precision if weight.role != "bias" or exact else Float16()
        treatments[name] = Treatment(structure=chosen, precision=kept)
    return CompressionPlan(treatments=treatments)


def other_points(model: LanguageModel, corpus: Corpus, folder: Path) -> Iterator[Point]:
    """Measure what others write, each file also under zstd."""
    path, graph = folder / "model.bin", folder / "graph.onnx"

    def measured(series: str, load: Callable[[], nn.Module]) -> Iterator[Point]:
        valid = perplexity(load(), corpus.valid)
        yield Point(series, "raw", path.stat().st_size, valid)
        yield Point(series, f"zstd -{_ZSTD_LEVEL}", zstd_size(path), valid)

    for series, bits in ((PLAIN_8, 8), (PLAIN_4, 4)):
        write_plain(model, path, bits, per_row=bits == 4)
        yield from measured(series, lambda: read_plain(model, path))
    write_graph(model, graph)
    check_graph(model, graph, corpus)
    for series, quantize in ((ORT_8, quantize_int8), (ORT_4, quantize_int4)):
        quantize(graph, path)
        yield from measured(series, lambda: OnnxModel(path, model))


def check_graph(model: LanguageModel, graph: Path, corpus: Corpus) -> None:
    """Refuse a graph that is not the model: in single precision, both must agree."""
    valid, other = (perplexity(one, corpus.valid) for one in (model, OnnxModel(graph, model)))
    if abs(other / valid - 1) > _RUNTIME_TOLERANCE:
        raise RuntimeError(f"perplexity {other} in ONNX Runtime, but {valid} in torch")


def zstd_size(path: Path) -> int:
    """Return the length of a file under zstd, after it was written, read and compared."""
    packed = path.with_name(path.name + ".zst")
    packed.write_bytes(zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(path.read_bytes()))
    if zstandard.ZstdDecompressor().decompress(packed.read_bytes()) != path.read_bytes():
        raise RuntimeError(f"{packed} does not unpack to {path}")
    return packed.stat().st_size


if __name__ == "__main__":
    main()
