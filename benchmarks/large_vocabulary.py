"""Time, memory and error of compressing a language model of 793,471 words: 6.5 GB and its LSTM.

    OMP_NUM_THREADS=2 python benchmarks/large_vocabulary.py [--words 50000 ...] [--folder FOLDER]

Writes a sharded checkpoint of the shape of bigLSTM (Jozefowicz et al. 2016): embedding and softmax
of words x 1,024, two LSTM layers of 8,192 with projections to 1,024. Its weights are random with a
decaying spectrum, a part of which each band of frequencies has to itself, and words occur as Zipf
has it. `autocompress.compress` carries out a plan for it in a process of its own, of which time
and memory are measured; errors are those of what is read back from the file, beside those of plain
SVD in as many bytes and of 8 bits. Writes `benchmarks/results/large_vocabulary.json`, `.md` and
`.png`; the checkpoint is deleted in the end, unless it was there.
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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor, nn

import autocompress as ac
from autocompress.precisions import Uniform
from autocompress.structures import Factor, LowRank

RESULTS = Path(__file__).parent / "results"
WORDS = (50_000, 200_000, 793_471)
COLS, HIDDEN, LAYERS = 1024, 8192, 2
BLOCK, BANDS, OWN = 8192, 5, 128
LARGE = ("embedding.weight", "decoder.weight")
BYTE = {"structure": {"kind": "dense"}, "precision": {"kind": "uniform", "bits": 8}}
FILE = "model.acz"
GROUPED = {
    "structure": {"kind": "group_reduce", "rank": 384, "blocks": BANDS},
    "precision": {"kind": "entropy", "step": 0.3, "frequency_exponent": 0.1},
}
OWN_METHOD = "GroupReduce, steps, entropy coded"


class BigLSTM(nn.Module):
    """Embedding, two LSTM layers with projections, softmax."""

    def __init__(self, words: int) -> None:
        super().__init__()
        # Not `nn.Embedding(words, COLS)`, which draws its numbers, for minutes on no device.
        self.embedding = nn.Embedding(words, COLS, _weight=torch.empty(words, COLS))
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
    counts: NDArray[np.float64] = np.floor(1000 * words * odds / odds.sum())
    return counts


def empty(words: int) -> BigLSTM:
    """Return a model that takes no memory yet."""
    with torch.device("meta"):
        return BigLSTM(words)


def write_checkpoint(folder: Path, words: int) -> int:
    """Write shards and their index block by block; return the bytes of the shards."""
    folder.mkdir(parents=True)
    places: dict[str, str] = {}
    tensors = empty(words).state_dict()
    for number, part in enumerate(("embedding", "lstm", "decoder"), 1):
        own = {name: tensor.shape for name, tensor in tensors.items() if name.startswith(part)}
        shard = f"model-{number:05d}-of-00003.safetensors"
        _write_shard(folder / shard, own)
        places |= dict.fromkeys(own, shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _write_shard(path: Path, shapes: dict[str, torch.Size]) -> None:
    table, first = {}, 0
    for name, shape in shapes.items():
        last = first + 4 * shape.numel()
        table[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [first, last]}
        first = last
    text = json.dumps(table).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            for block in _blocks(tuple(shape), seed=sum(name.encode())):
                file.write(block.data)


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


def compressed(folder: Path, words: int) -> dict[str, Any]:
    """Carry out a plan; return what it took."""
    start = time.perf_counter(), time.process_time()
    with most_anonymous() as most:
        model = ac.load_checkpoint(folder, empty(words))
        treatments = dict.fromkeys(model.state_dict(), BYTE) | dict.fromkeys(LARGE, GROUPED)
        plan = ac.CompressionPlan.from_json({"treatments": treatments})
        artifact = ac.compress(model, plan, Words(words), folder / FILE)
    return {
        "wall": time.perf_counter() - start[0],
        "processor": time.process_time() - start[1],
        "resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "anonymous": most(),
        "file": artifact.size_bytes,
        "bytes": {name: artifact.contents.items[name].nbytes for name in LARGE},
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


def errors(folder: Path, words: int) -> dict[str, Any]:
    """Return by method and weight the bytes, and what `lost` gives; of others, of the softmax."""
    artifact, counts = ac.open_artifact(folder / FILE), zipf(words)
    found: dict[str, Any] = {OWN_METHOD: {}}
    for item in artifact.contents.header.items:
        if item.name in LARGE:
            exact = mapped(folder, item.name)
            size = artifact.contents.items[item.name].nbytes
            found[OWN_METHOD][item.name] = size, *lost(exact, counts, artifact.blocks(item))
    softmax = LARGE[1]
    exact, size = mapped(folder, softmax), artifact.contents.items[softmax].nbytes
    for method, n_bytes, blocks in others(exact, size):
        found[method] = {softmax: (n_bytes, *lost(exact, counts, blocks))}
    return found


def mapped(folder: Path, name: str) -> NDArray[np.float32]:
    """Return a weight, read as it is looked at."""
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    with safe_open(folder / index["weight_map"][name], "pt") as file:
        exact: NDArray[np.float32] = file.get_tensor(name).numpy()
    return exact


Blocks = Iterable[tuple[slice, NDArray[np.float32]]]


def others(exact: NDArray[np.float32], n_bytes: int) -> Iterator[tuple[str, int, Blocks]]:
    """Yield plain SVD in both precisions in as many bytes, and 8 bits in four times fewer.

    With 8 bits, each row has two numbers of its own, in half precision.
    """
    rows, cols = exact.shape
    byte = Uniform(bits=8, group="row")
    rank = (n_bytes - 4 * rows) // (rows + cols)
    factors = LowRank(rank=rank).factorize(exact, None)
    left, right = (byte.quantize(factors[name]) for name in ("left", "right"))
    size = rank * (rows + cols + 4) + 4 * rows
    yield "SVD, 8 bits", size, ((s, left[s] @ right) for s in chunks(rows))
    rank = n_bytes // (4 * (rows + cols))
    left, right = factors["left"].values[:, :rank], factors["right"].values[:rank]
    yield "SVD, float32", 4 * rank * (rows + cols), ((s, left[s] @ right) for s in chunks(rows))
    blocks = ((s, byte.quantize(Factor(exact[s]))) for s in chunks(rows))
    yield "8 bits", rows * (cols + 4), blocks


def chunks(rows: int) -> Iterator[slice]:
    """Cut the rows into slices."""
    return (slice(first, min(first + BLOCK, rows)) for first in range(0, rows, BLOCK))


def lost(exact: NDArray[np.float32], counts: NDArray[np.float64], blocks: Blocks) -> list[float]:
    """Return the relative error with all words alike, and with each by its count."""
    errors, energies = np.zeros(len(exact)), np.zeros(len(exact))
    for rows, values in blocks:
        for part in chunks(len(values)):
            some = slice(rows.start + part.start, rows.start + part.stop)
            errors[some] = np.square(exact[some] - values[part]).sum(axis=1, dtype=np.float64)
            energies[some] = np.square(exact[some]).sum(axis=1, dtype=np.float64)
    weighted = errors @ (counts + 1) / (energies @ (counts + 1))
    return [float(errors.sum() / energies.sum()) ** 0.5, float(weighted) ** 0.5]


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


def measured(parent: Path, words: int) -> dict[str, Any]:
    """Write a checkpoint, unless it is there, compress it, and delete what was written."""
    folder = parent / f"m{words}"
    is_new = not folder.exists()
    try:
        if is_new:
            write_checkpoint(folder, words)
        size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        took = in_child("compress", str(folder), words)
        found = {"words": words, "model": size, **took}
        print(found, flush=True)
        found["methods"] = in_child("errors", str(folder), words)
        (folder / FILE).unlink()
    finally:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
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
    ]
    lines += [
        "",
        "| words | weight | method | MB | times smaller | relative error | weighted by counts |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one['words']:,} | {'softmax' if name == LARGE[1] else 'embedding'} | {method} "
        f"| {size / 1e6:.1f} | {4 * COLS * one['words'] / size:.1f}x | {plain:.3f} "
        f"| {weighted:.3f} |"
        for one in found
        for method, weights in one["methods"].items()
        for name, (size, plain, weighted) in weights.items()
    ]
    return "\n".join(lines) + "\n"


def draw(found: list[dict[str, Any]], path: Path) -> None:
    """Draw time and memory over the size of the model."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    first, second = figure.subplots(1, 2)
    sizes = [one["model"] / 1e9 for one in found]
    first.plot(sizes, [one["processor"] for one in found], "o-", label="processor time")
    first.set_ylabel("seconds")
    for key, marker, label in (
        ("resident", "o-", "resident at most"),
        ("anonymous", "s-", "of it not mapped from the file"),
    ):
        second.plot(sizes, [one[key] / 1e9 for one in found], marker, label=label)
    second.plot([0, sizes[-1]], [0, sizes[-1]], ":", color="grey", label="the model's size")
    second.set_ylabel("GB")
    for axes in (first, second):
        axes.set_xlabel("model, GB")
        axes.set_xlim(0, 1.1 * sizes[-1])
        axes.set_ylim(bottom=0)
        axes.legend()
        for size, one in zip(sizes, found, strict=True):
            place = {"xytext": (0, 4), "textcoords": "offset points", "ha": "center"}
            axes.annotate(f"{one['words']:,}", (size, 0), fontsize=7, color="grey", **place)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure all sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=int, nargs="+", default=WORDS)
    parser.add_argument("--folder", type=Path, help="Where the checkpoint is, or is put: 8 GB.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        parent = arguments.folder or Path(made)
        found = [measured(parent, words) for words in arguments.words]
    (RESULTS / "large_vocabulary.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "large_vocabulary.md").write_text(table(found))
    draw(found, RESULTS / "large_vocabulary.png")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], *json.loads(sys.argv[3]))
    else:
        main()
