"""Time, memory and error of compressing a language model of 793,471 words: 6.5 GB and its LSTM.

    python benchmarks/large_vocabulary.py [--words 50000 200000 793471] [--folder FOLDER]

Writes a sharded checkpoint of the shape of bigLSTM (Jozefowicz et al. 2016): embedding and softmax
of words x 1,024, two LSTM layers of 8,192 with projections to 1,024. Its weights are random with a
decaying spectrum, a part of which each band of frequencies has to itself, and words occur as Zipf
has it. `autocompress.compress` carries out a plan for it in a process of its own, of which time
and memory are measured; errors are those of what is read back from the file. Plain SVD and 8 bits
are plans, too. Writes `benchmarks/results/large_vocabulary.md` and `.png`; the checkpoint is
deleted in the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import autocompress as ac

RESULTS = Path(__file__).parent / "results"
WORDS = (50_000, 200_000, 793_471)
COLS, HIDDEN, LAYERS = 1024, 8192, 2
BLOCK, BANDS, OWN = 8192, 5, 128
LARGE = ("embedding.weight", "decoder.weight")
_RANK, _STEP = 256, 0.5


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
    """Yield a weight by blocks of rows: a spectrum of k^-1/2, of each band with some of its own."""
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
