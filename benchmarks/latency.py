"""What a word takes, in PyTorch and ONNX Runtime, and with this tool's plans.

    pip install '.[benchmarks]'
    python benchmarks/latency.py MODEL DATA [ARTIFACT ...]

One process, one thread, all models in turn; medians over rounds of the processor time of a word,
batch 1, the state carried. Plans of this tool are one of 8 bits, one of 4, and one whose output
layer has a quarter of the rank besides; and the ARTIFACTs, which a search with a latency budget on
MODEL has found. The same for a 2x650 LSTM with random weights. Perplexities are those of the
models as they run here, on validation data. Writes `benchmarks/results/latency.md`.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from onnx_models import quantize_int8, write_graph
from ptb_small import RESULTS
from torch import nn

from autocompress.artifact import Artifact, open_artifact
from autocompress.encoding.encoder import Encoder, uncompressed_plan
from autocompress.engines.onnx.session import open_session
from autocompress.engines.onnx.timing import measure
from autocompress.knowledge.source import Source
from autocompress.lm import (
    LanguageModel,
    LanguageModelConfig,
    LanguageModeling,
    load_model,
    read_corpus,
)
from autocompress.lm.onnx.build import build
from autocompress.lm.onnx.exporter import LanguageModelExporter
from autocompress.lm.onnx.modules import StepModel
from autocompress.lm.onnx.stepper import Stepper
from autocompress.plan import CompressionPlan, Runtime, Treatment
from autocompress.precisions import Float32
from autocompress.structures import Dense, LowRank

_SHARE_OF_RANK = 4
_REFERENCE = "ONNX Runtime, fp32"
_INT8 = "ONNX Runtime, quantize_dynamic int8"
_LARGE = LanguageModelConfig("lstm", 10_000, 650, 650)  # of as many words as the models of PTB


class Entry(NamedTuple):
    """One model: what reads a word, the file's bytes, and what can be scored."""

    read: Callable[[int], object]
    size_bytes: int | None
    model: nn.Module | None


def in_torch(model: nn.Module) -> Entry:
    """Return a module that reads one word after another, eagerly."""
    state = None

    def read(word: int) -> None:
        nonlocal state
        with torch.inference_mode():
            _, state = model(torch.tensor([[word]]), state)

    return Entry(read, None, Scored(model))


class Scored(nn.Module):
    """A model of which nothing is asked but its scores: quantized ones have no tensors to show."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, words: torch.Tensor, state: Any = None) -> Any:
        """Score the next word after each word."""
        return self.model(words, state)


def in_onnx(data: bytes) -> Entry:
    """Return a model in ONNX Runtime."""
    session = open_session(data)
    return Entry(Stepper(session), len(data), StepModel(session))


def peers(model: LanguageModel, folder: Path) -> dict[str, Entry]:
    """Return what other tools make of a model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        quantize: Any = torch.ao.quantization.quantize_dynamic
        quantized = quantize(model, {nn.LSTM, nn.Linear})
    exact, int8 = folder / "fp32.onnx", folder / "int8.onnx"
    write_graph(model, exact)
    quantize_int8(exact, int8)
    return {
        "PyTorch eager, fp32": in_torch(model),
        "PyTorch dynamic int8": in_torch(quantized),
        _REFERENCE: in_onnx(exact.read_bytes()),
        _INT8: in_onnx(int8.read_bytes()),
    }


def planned(source: Source, runtime: Runtime, rank: int | None, path: Path) -> Artifact:
    """Carry out a plan whose matrices all run in the same numbers."""
    treatments = dict(uncompressed_plan(source).treatments)
    for name, weight in source.weights.weights.items():
        if min(weight.matrix.shape) > 1:
            is_low = rank is not None and name == "decoder.weight"
            structure = LowRank(rank=rank or 1, fit="loss") if is_low else Dense()
            treatments[name] = Treatment(structure=structure, precision=Float32(), runtime=runtime)
    Encoder(source).write(CompressionPlan(treatments=treatments), path)
    return open_artifact(path)


def own(source: Source, hidden: int, folder: Path) -> dict[str, Entry]:
    """Return two plans that need no search."""
    rank = hidden // _SHARE_OF_RANK
    plans = {
        "all in 8 bits": planned(source, "int8", None, folder / "int8.acz"),
        "all in 4 bits": planned(source, "int4", None, folder / "int4.acz"),
        f"8 bits, output rank {rank}": planned(source, "int8", rank, folder / "rank.acz"),
    }
    return {
        f"autocompress: {name}": in_onnx(build(artifact).SerializeToString())
        for name, artifact in plans.items()
    }


def found(path: Path) -> tuple[str, Entry]:
    """Return an artifact by a name that tells it from others."""
    name = f"autocompress: found by a search, artifact of {path.stat().st_size:,} bytes"
    return name, in_onnx(build(open_artifact(path)).SerializeToString())


def table(entries: dict[str, Entry], task: LanguageModeling | None) -> list[str]:
    """Measure the models in turn and return a table."""
    readers = {name: one.read for name, one in entries.items()}
    times = measure(readers, LanguageModelExporter(_LARGE.for_artifact()).inputs(), _REFERENCE)
    head = ["model", "p50, ms", "p95, ms", "x fp32", "faster than int8", "file, MB", "valid"]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for name, entry in entries.items():
        latency = times[name]
        size = "" if entry.size_bytes is None else f"{entry.size_bytes / 1e6:.2f}"
        score = "" if task is None or entry.model is None else task.evaluate(entry.model, "valid")
        cells = [
            name,
            f"{latency.p50_ms:.4f}",
            f"{latency.p95_ms:.4f}",
            f"{latency.ratio:.3f} ± {latency.noise * latency.ratio:.3f}",
            f"{times[_INT8].ratio / latency.ratio:.2f}x",
            size,
            score if isinstance(score, str) else f"{score:.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Measure both models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("artifacts", type=Path, nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, vocabulary = load_model(arguments.model)
    task = LanguageModeling(read_corpus(arguments.data, vocabulary))
    lines = [f"**{arguments.model.name}**", ""]
    with TemporaryDirectory() as name:
        folder = Path(name)
        entries = peers(model, folder) | own(
            Source.of(model, task), model.config.hidden_size, folder
        )
        lines += table(entries | dict(map(found, arguments.artifacts)), task)
        torch.manual_seed(0)
        large = LanguageModel(_LARGE).eval()
        # Random weights teach nothing: a little text will do to calibrate.
        short = LanguageModeling(replace(task.corpus, train=task.corpus.train[:20_000]))
        entries = peers(large, folder) | own(Source.of(large, short), _LARGE.hidden_size, folder)
        lines += ["", "**2x650 LSTM, random weights**", "", *table(entries, None)]
    (RESULTS / "latency.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
