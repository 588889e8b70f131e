"""Time, memory and error of GroupReduce on a matrix as large as that of One Billion Words.

    python benchmarks/group_reduce.py [--rows 800000] [--cols 1024]

Compares with one exact Gram matrix and its eigenvectors, the cost of a plain SVD, on the same
data in the same process, and writes `benchmarks/results/group_reduce.md`. The data are synthetic:
rows near a space that all share and near one of their frequency band, with Zipf's frequencies.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autocompress.coders import encode_smallest
from autocompress.structures import Factor, GroupReduce, Matrix, Shape

RESULTS = Path(__file__).parent / "results"
CHUNK_ROWS = 4096
SHARED_DIMENSIONS, BAND_DIMENSIONS = 64, 64
BANDS = 5
SHARE_OUTSIDE_BAND = 0.2

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """What some work took.

    Attributes:
        label: What was done.
        wall: Seconds.
        processor: Seconds, summed over threads.
        peak: Bytes, the most the process ever held until then.
        error: Weighted relative error.
        ranks: Ranks of the blocks.
        parameters: Number of floats.
        integer_bytes: Coded bytes for the blocks of the rows.
    """

    label: str
    wall: float
    processor: float
    peak: int
    error: float
    ranks: str
    parameters: int
    integer_bytes: int = 0


def main() -> None:
    """Measure everything and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=800_000)
    parser.add_argument("--cols", type=int, default=1024)
    parser.add_argument("--rank", type=int, default=64)
    arguments = parser.parse_args()
    before = peak_bytes()
    weight = embedding((arguments.rows, arguments.cols))
    frequencies = zipf(arguments.rows)
    ready = peak_bytes()
    results = [plain(weight, frequencies, arguments.rank)]
    for rounds in (0, 2):
        structure = GroupReduce(blocks=5, rank=arguments.rank, rounds=rounds)
        results.append(grouped(structure, weight, frequencies))
        print(results[-1], flush=True)
    (RESULTS / "group_reduce.md").write_text(table(results, weight, before, ready))


def embedding(shape: Shape) -> Matrix:
    """Fill a matrix chunk by chunk; rows are in order of frequency."""
    generator = np.random.default_rng(0)
    rows, cols = shape
    weight = np.empty(shape, dtype=np.float32)
    scales = np.arange(1, SHARED_DIMENSIONS + 1, dtype=np.float32) ** np.float32(-0.5)
    shared = scales[:, None] * normal(generator, (SHARED_DIMENSIONS, cols))
    own = [np.float32(0.3) * normal(generator, (BAND_DIMENSIONS, cols)) for _ in range(BANDS)]
    for part in chunks(rows):
        chunk = weight[part]
        generator.standard_normal(out=chunk, dtype=np.float32)
        chunk *= np.float32(0.3)
        chunk += normal(generator, (len(chunk), SHARED_DIMENSIONS)) @ shared
        bands = np.arange(part.start, part.start + len(chunk)) * BANDS // rows
        elsewhere = generator.random(len(chunk)) < SHARE_OUTSIDE_BAND
        bands[elsewhere] = generator.integers(BANDS, size=int(elsewhere.sum()))
        for band, basis in enumerate(own):
            members = np.flatnonzero(bands == band)
            chunk[members] += normal(generator, (members.size, BAND_DIMENSIONS)) @ basis
    return weight


def normal(generator: np.random.Generator, shape: Shape) -> Matrix:
    """Return normal values."""
    return generator.standard_normal(shape, dtype=np.float32)


def zipf(rows: int) -> Floats:
    """Return counts of words in a corpus of a thousand times as many words as the vocabulary."""
    odds = 1 / np.arange(1, rows + 1)
    counts: Floats = np.floor(1000 * rows * odds / odds.sum())
    return counts


def chunks(rows: int) -> Iterator[slice]:
    """Cut the rows into slices."""
    return (slice(first, first + CHUNK_ROWS) for first in range(0, rows, CHUNK_ROWS))


def plain(weight: Matrix, frequencies: Floats, rank: int) -> Measured:
    """Measure one exact Gram matrix and its eigenvectors."""
    vectors, wall, processor = timed(partial(eigenvectors, weight))
    peak = peak_bytes()
    basis = vectors[:, -rank:].astype(np.float32)
    error = weighted_error(
        weight, frequencies, ((rows, (weight[rows] @ basis) @ basis.T) for rows in indices(weight))
    )
    parameters = rank * sum(weight.shape)
    label = "Gram matrix, eigenvectors"
    return Measured(label, wall, processor, peak, error, str(rank), parameters)


def eigenvectors(weight: Matrix) -> Floats:
    """Return the right singular vectors, float64 of shape (cols, cols), the largest last."""
    gram = np.zeros((weight.shape[1], weight.shape[1]))
    for part in chunks(weight.shape[0]):
        chunk = weight[part].astype(np.float64)
        gram += chunk.T @ chunk
    vectors: Floats = np.linalg.eigh(gram)[1]
    return vectors


def grouped(structure: GroupReduce, weight: Matrix, frequencies: Floats) -> Measured:
    """Measure the factorisation, refinement included."""
    work = partial(structure.factorize, weight, frequencies)
    factors, wall, processor = timed(work)
    peak = peak_bytes()
    integers = [factor.values for factor in factors.values() if factor.integers]
    coded = [encode_smallest(values.astype(np.int64))[1] for values in integers]
    return Measured(
        label=f"GroupReduce, {structure.rounds} rounds",
        wall=wall,
        processor=processor,
        peak=peak,
        error=weighted_error(weight, frequencies, products(factors, structure.blocks)),
        ranks=" ".join(f"{rank:g}" for rank in factors["ranks"].values.ravel()),
        parameters=sum(f.values.size for f in factors.values() if not f.integers),
        integer_bytes=sum(len(data) for data in coded),
    )


def products(
    factors: Mapping[str, Factor], blocks: int
) -> Iterator[tuple[NDArray[np.int64], Matrix]]:
    """Yield rows and what is stored of them, chunk by chunk."""
    assignment = np.cumsum(factors["assignment"].values.ravel().astype(np.int64)) % blocks
    for block in np.unique(assignment).tolist():
        members = np.flatnonzero(assignment == block)
        left, right = factors[f"left{block}"].values, factors[f"right{block}"].values
        for part in chunks(members.size):
            yield members[part], left[part] @ right


def indices(weight: Matrix) -> Iterator[NDArray[np.int64]]:
    """Yield the numbers of all rows, chunk by chunk."""
    return (np.arange(len(weight))[part] for part in chunks(len(weight)))


def weighted_error(
    weight: Matrix, frequencies: Floats, parts: Iterator[tuple[NDArray[np.int64], Matrix]]
) -> float:
    """Return the root of the weighted squared error over the weighted squared norm."""
    lost = total = 0.0
    for rows, approximation in parts:
        weights, chunk = frequencies[rows] + 1, weight[rows]
        total += float(weights @ np.square(chunk, dtype=np.float64).sum(axis=1))
        lost += float(weights @ np.square(chunk - approximation, dtype=np.float64).sum(axis=1))
    return float(np.sqrt(lost / total))


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return what the work returns, wall-clock seconds and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - processor


def peak_bytes() -> int:
    """Return the most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def table(results: list[Measured], weight: Matrix, before: int, ready: int) -> str:
    """Return the Markdown table."""
    first = results[0]
    rows, cols = weight.shape
    lines = [
        (
            f"Float32 matrix of {rows} x {cols}, {weight.nbytes / 1e9:.2f} GB. Resident before it "
            f"was made: {before / 1e9:.2f} GB, then: {ready / 1e9:.2f} GB. Peaks are those of the "
            "whole process until then, the matrix included. The first line's error is that of a "
            "plain SVD."
        ),
        "",
        (
            "| work | wall, s | processor, s | ratio | peak, GB | peak / matrix | ranks "
            "| parameters | bytes for blocks | weighted relative error |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {result.label} | {result.wall:.1f} | {result.processor:.1f} "
        f"| {result.processor / first.processor:.2f} | {result.peak / 1e9:.2f} "
        f"| {result.peak / weight.nbytes:.2f} | {result.ranks} | {result.parameters} "
        f"| {result.integer_bytes} | {result.error:.4f} |"
        for result in results
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
