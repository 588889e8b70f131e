"""How near the entropy coder comes to the entropy, and how fast it is.

    python benchmarks/coding.py

Codes two million integers (uniform steps on Gaussian and Laplacian data, alike rows and rows of
different scale) and writes `benchmarks/results/coding.md`. Times are medians of processor time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autocompress.coders import CODERS

RESULTS = Path(__file__).parent / "results"
SHAPE = (10_000, 200)
ROUNDS = 5


def main() -> None:
    """Code every kind of data and write the table."""
    lines = [
        (
            "| data | entropy, bits | packed, bits | entropy coder, bits | over entropy "
            "| encode, M/s | decode, M/s |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for name, codes in kinds().items():
        coder = CODERS["entropy"]()
        data = coder.encode(codes)
        packed = CODERS["packed"]().encode(codes)
        assert data is not None
        assert packed is not None
        bits = [8 * len(encoded) / codes.size for encoded in (packed, data)]
        ideal = entropy(codes)
        speeds = [
            codes.size / 1e6 / seconds(partial(coder.encode, codes)),
            codes.size / 1e6 / seconds(partial(coder.decode, data, SHAPE)),
        ]
        lines.append(
            f"| {name} | {ideal:.3f} | {bits[0]:.3f} | {bits[1]:.3f} | {bits[1] / ideal - 1:+.2%} "
            f"| {speeds[0]:.0f} | {speeds[1]:.0f} |"
        )
    (RESULTS / "coding.md").write_text("\n".join(lines) + "\n")


def kinds() -> dict[str, NDArray[np.int64]]:
    """Return integers of shape (10000, 200) by what they come from."""
    generator = np.random.default_rng(0)
    scales = generator.lognormal(0, 0.6, (SHAPE[0], 1))
    draws = {"Gaussian": generator.normal(size=SHAPE), "Laplacian": generator.laplace(size=SHAPE)}
    alike = {
        f"{name}, step {step}": draw / step for name, draw in draws.items() for step in (1, 0.2)
    }
    alike["Laplacian, rows of different scale"] = draws["Laplacian"] * scales
    return {name: np.rint(values).astype(np.int64) for name, values in alike.items()}


def entropy(codes: NDArray[np.int64]) -> float:
    """Return the empirical entropy of the integers, all taken together, in bits."""
    counts = np.unique(codes, return_counts=True)[1]
    shares = counts / codes.size
    return float(-(shares * np.log2(shares)).sum())


def seconds(work: Callable[[], Any]) -> float:
    """Return the median processor time of some work, in seconds."""
    times = []
    for _ in range(ROUNDS):
        clock = time.process_time()
        work()
        times.append(time.process_time() - clock)
    return median(times)


if __name__ == "__main__":
    main()
