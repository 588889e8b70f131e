"""Time, memory and error of compressing a language model of 793,471 words: 6.5 GB and its LSTM.

    OMP_NUM_THREADS=2 python benchmarks/large_vocabulary.py [--words 50000 ...] [--folder FOLDER]

Writes a sharded checkpoint of the shape of bigLSTM (Jozefowicz et al. 2016): embedding and softmax
of words x 1,024, two LSTM layers of 8,192 with projections to 1,024. Its weights are random with a
decaying spectrum, a part of which each band of frequencies has to itself, and words occur as Zipf
has it. `autocompress.compress` carries out a plan for it in a process of its own, of which time
and memory are measured; errors are those of what is read back from the file. Plain SVD and 8 bits
are plans, too. Writes `benchmarks/results/large_vocabulary.md` and `.png`; the checkpoint is
deleted in the end.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

import autocompress as ac

RESULTS = Path(__file__).parent / "results"
WORDS = (50_000, 200_000, 793_471)
COLS, HIDDEN, LAYERS = 1024, 8192, 2
BLOCK, BANDS, OWN = 8192, 5, 128
LARGE = ("embedding.weight", "decoder.weight")
STEPS = {"kind": "entropy", "step": 0.3, "frequency_exponent": 0.1}
RANK = 384


class BigLSTM(nn.Module):
    """Embedding, two LSTM layers with projections, softmax."""

    def __init__(self, words: int) -> None:
        super().__init__()
        # Not `nn.Embedding(words, COLS)`, which draws its numbers, for minutes on no device.
        self.embedding = nn.Embedding.from_pretrained(torch.empty(words, COLS), freeze=False)
        self.lstm = nn.LSTM(COLS, HIDDEN, LAYERS, proj_size=COLS)
        self.decoder = nn.Linear(COLS, words)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits (time, batch, words) of ids (time, batch)."""
        scores: Tensor = self.decoder(self.lstm(self.embedding(ids))[0])
        return scores


class Words(ac.Task):
    """Knows how often each word occurs, and one batch."""

    metric = "loss"

    def __init__(self, words: int) -> None:
        self.counts = zipf(words)

    def calibration_batches(self) -> Iterator[Tensor]:
        """Yield two words."""
        yield torch.tensor([[0], [1]])

    def evaluate(self, model: nn.Module, split: str) -> float:
        """Return the loss of the second word."""
        with torch.no_grad():
            return float(-model(torch.tensor([[0], [1]]))[0, 0].log_softmax(-1)[1])

    def row_frequencies(self, model: nn.Module) -> dict[str, NDArray[np.float64]]:
        """Return the counts of the words."""
        return dict.fromkeys(LARGE, self.counts)


def zipf(words: int) -> NDArray[np.float64]:
    """Return counts of words in a corpus of a thousand times as many words as the vocabulary."""
    odds = 1 / np.arange(1, words + 1)
    return np.floor(1000 * words * odds / odds.sum())


def empty(words: int) -> BigLSTM:
    """Return a model that takes no memory yet."""
    with torch.device("meta"):
        return BigLSTM(words)


def write_checkpoint(folder: Path, words: int) -> int:
    """Write shards and their index block by block; return the bytes of the shards."""
    folder.mkdir(parents=True)
    places = {}
    tensors = empty(words).state_dict()
    for number, part in enumerate(("embedding", "lstm", "decoder"), 1):
        own = {name: tensor.shape for name, tensor in tensors.items() if name.startswith(part)}
        shard = f"model-{number:05d}-of-00003.safetensors"
        _write_shard(folder / shard, own, words)
        places |= dict.fromkeys(own, shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _write_shard(path: Path, shapes: dict[str, torch.Size], words: int) -> None:
    table, first = {}, 0
    for name, shape in shapes.items():
        last = first + 4 * shape.numel()
        table[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [first, last]}
        first = last
    text = json.dumps(table).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for seed, (name, shape) in enumerate(shapes.items()):
            for block in _blocks(tuple(shape), hash_of(name) + seed):
                file.write(block.data)


def hash_of(name: str) -> int:
    """Return a number of a name that is the same in every process."""
    return sum(name.encode())


def _blocks(shape: tuple[int, ...], seed: int) -> Iterator[NDArray[np.float32]]:
    """Yield a weight by blocks of rows: a spectrum of k^-1/2, some of it a band's own."""
    generator = np.random.default_rng(seed)
    if len(shape) == 1:
        yield np.zeros(shape, np.float32)
        return
    rows, cols = shape
    rank = min(rows, cols)
    scales = np.arange(1, rank + 1, dtype=np.float32) ** np.float32(-0.5)
    scales *= np.float32(0.05 * np.sqrt(cols / np.square(scales).sum()))
    shared = scales[:, None] * _basis(generator, rank, cols)
    own = [scales[:OWN, None] * _basis(generator, OWN, cols) for _ in range(BANDS)]
    for first in range(0, rows, BLOCK):
        n = min(BLOCK, rows - first)
        block = generator.standard_normal((n, rank), np.float32) @ shared
        bands = (first + np.arange(n)) * BANDS // rows
        for band in np.unique(bands):
            some = np.flatnonzero(bands == band)
            block[some] += generator.standard_normal((some.size, OWN), np.float32) @ own[band]
        yield block


def _basis(generator: np.random.Generator, rank: int, cols: int) -> NDArray[np.float32]:
    q = np.linalg.qr(generator.standard_normal((cols, rank), np.float32))[0]
    return np.ascontiguousarray(q.T)


def treatment(method: str, rows: int, n_bytes: float) -> dict[str, Any]:
    """Return how a large weight is stored, in about so many bytes where a method can choose."""
    rank = {"float32": n_bytes / 4, "int8": n_bytes}.get(method.split()[-1], 0) / (rows + COLS)
    low_rank = {"kind": "low_rank", "rank": int(rank) or RANK}
    eight = {"kind": "uniform", "bits": 8}
    grouped = {"kind": "group_reduce", "rank": RANK, "blocks": BANDS}
    structure, precision = {
        "GroupReduce, steps": (grouped, STEPS),
        "SVD, steps": (low_rank, STEPS),
        "SVD, int8": (low_rank, eight),
        "SVD, float32": (low_rank, {"kind": "float32"}),
        "int8": ({"kind": "dense"}, eight),
    }[method]
    return {"structure": structure, "precision": precision}


METHODS = ("GroupReduce, steps", "SVD, steps", "SVD, int8", "SVD, float32", "int8")


def compressed(folder: Path, words: int, method: str, n_bytes: float) -> dict[str, Any]:
    """Carry out a plan; return what it took."""
    plain = {"structure": {"kind": "dense"}, "precision": {"kind": "uniform", "bits": 8}}
    start = time.perf_counter(), time.process_time()
    with most_anonymous() as most:
        model = ac.load_checkpoint(folder, empty(words))
        treatments = dict.fromkeys(model.state_dict(), plain)
        treatments |= dict.fromkeys(LARGE, treatment(method, words, n_bytes))
        plan = ac.CompressionPlan.from_json({"treatments": treatments})
        artifact = ac.compress(model, plan, Words(words), folder / f"{method}.acz")
    return {
        "wall": time.perf_counter() - start[0],
        "processor": time.process_time() - start[1],
        "resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "anonymous": most(),
        "file": artifact.size_bytes,
        "large": sum(artifact.contents.items[name].nbytes for name in LARGE),
    }


@contextmanager
def most_anonymous() -> Iterator[Callable[[], int]]:
    """Watch the memory of this process that is not mapped from a file; the most, in bytes."""
    most, done = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.02):
            text = Path("/proc/self/status").read_text()
            most = max(most, int(text.partition("RssAnon:")[2].split()[0]) * 1024)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: most
    finally:
        done.set()
        thread.join()


def errors(folder: Path, words: int, method: str) -> dict[str, Any]:
    """Return the relative errors of what a file holds, all words alike and by their counts."""
    exact = ac.load_checkpoint(folder)
    artifact = ac.open_artifact(folder / f"{method}.acz")
    counts, found = zipf(words) + 1, {}
    for item in artifact.contents.header.items:
        if item.name not in LARGE:
            continue
        lost, energy = np.zeros(words), np.zeros(words)
        for rows, values in artifact.blocks(item):
            for first in range(rows.start, rows.stop, BLOCK):
                some = slice(first, min(first + BLOCK, rows.stop))
                own = exact[item.name][some].numpy()
                difference = own - values[first - rows.start : some.stop - rows.start]
                lost[some] = np.square(difference, dtype=np.float64).sum(axis=1)
                energy[some] = np.square(own, dtype=np.float64).sum(axis=1)
        plain, weighted = lost.sum() / energy.sum(), lost @ counts / (energy @ counts)
        found[item.name] = [float(plain) ** 0.5, float(weighted) ** 0.5]
    return found


def in_child(step: str, *arguments: Any) -> dict[str, Any]:
    """Run a step in a process of its own."""
    command = [sys.executable, __file__, "--child", step, json.dumps(arguments)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    answer: dict[str, Any] = json.loads(output.splitlines()[-1])
    return answer


def child(step: str, folder: str, *arguments: Any) -> None:
    """Do it, and print what was found."""
    steps: dict[str, Callable[..., Any]] = {"compress": compressed, "errors": errors}
    print(json.dumps(steps[step](Path(folder), *arguments)))


def measured(parent: Path, words: int, methods: Sequence[str]) -> list[dict[str, Any]]:
    """Write a checkpoint, compress it by each method, and delete it."""
    folder = parent / str(words)
    start = time.perf_counter()
    n_bytes = write_checkpoint(folder, words)
    print(
        f"{words:,} words: {n_bytes / 1e9:.2f} GB written in {time.perf_counter() - start:.0f} s"
    )
    found: list[dict[str, Any]] = []
    try:
        for method in methods:
            each = found[0]["large"] / len(LARGE) if found else 0.0
            took = in_child("compress", str(folder), words, method, each)
            lost = in_child("errors", str(folder), words, method)
            (folder / f"{method}.acz").unlink()
            found.append({"words": words, "method": method, "model": n_bytes, **took, **lost})
            print(found[-1], flush=True)
    finally:
        shutil.rmtree(folder)
    return found


def table(found: list[dict[str, Any]]) -> str:
    """Return both tables in Markdown."""
    lines = [
        (
            "| words | model, GB | wall, s | processor, s | resident at most, GB "
            "| of it not mapped from the file, GB | file, MB |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one['words']:,} | {one['model'] / 1e9:.2f} | {one['wall']:.0f} "
        f"| {one['processor']:.0f} | {one['resident'] / 1e9:.2f} | {one['anonymous'] / 1e9:.2f} "
        f"| {one['file'] / 1e6:.0f} |"
        for one in found
        if one["method"] == METHODS[0]
    ]
    lines += [
        "",
        "Embedding and softmax alone; relative errors with all words alike / by their counts:",
        "",
        "| words | method | MB | times smaller | embedding | softmax |",
        "|---|---|---|---|---|---|",
    ]
    for one in found:
        whole = 4 * COLS * one["words"] * len(LARGE)
        lost = " | ".join(f"{one[name][0]:.3f} / {one[name][1]:.3f}" for name in LARGE)
        sizes = f"{one['large'] / 1e6:.1f} | {whole / one['large']:.1f}x"
        lines.append(f"| {one['words']:,} | {one['method']} | {sizes} | {lost} |")
    return "\n".join(lines) + "\n"


def draw(found: list[dict[str, Any]], path: Path) -> None:
    """Draw time and memory over the size of the model."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    first, second = figure.subplots(1, 2)
    some = [one for one in found if one["method"] == METHODS[0]]
    sizes = [one["model"] / 1e9 for one in some]
    first.plot(sizes, [one["processor"] for one in some], "o-", label="processor time")
    first.set_ylabel("seconds")
    second.plot(sizes, [one["resident"] / 1e9 for one in some], "o-", label="resident at most")
    anonymous = [one["anonymous"] / 1e9 for one in some]
    second.plot(sizes, anonymous, "s-", label="of it not mapped from the file")
    second.plot([0, sizes[-1]], [0, sizes[-1]], ":", color="grey", label="the model's size")
    second.set_ylabel("GB")
    for axes in (first, second):
        axes.set_xlabel("model, GB")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.legend()
        for size, one in zip(sizes, some, strict=True):
            axes.annotate(f"{one['words']:,}", (size, 0), ha="center", fontsize=7, color="grey")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure all sizes; the other methods at the last one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=int, nargs="+", default=WORDS)
    parser.add_argument("--folder", type=Path, help="Where the model is put, which takes 8 GB.")
    arguments = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for words in arguments.words:
            methods = METHODS if words == max(arguments.words) else METHODS[:1]
            found += measured(Path(folder), words, methods)
    (RESULTS / "large_vocabulary.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "large_vocabulary.md").write_text(table(found))
    draw(found, RESULTS / "large_vocabulary.png")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], *json.loads(sys.argv[3]))
    else:
        main()
