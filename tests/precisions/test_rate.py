"""Steps and entropy coding together come as close to the theoretical rate as they can."""

import numpy as np
import pytest
from numpy.typing import NDArray

from autocompress.coders import EntropyCoder
from autocompress.precisions import EntropyStep
from autocompress.structures import Factor, Matrix

SHAPE = (600, 200)
# What a table of up to a few hundred levels may cost beside the bits, per weight.
TABLE_BITS = 0.015


def source(name: str) -> Matrix:
    generator = np.random.default_rng(11)
    values = generator.normal(size=SHAPE) if name == "gaussian" else generator.laplace(size=SHAPE)
    return values.astype(np.float32)


def coded_bits(codes: NDArray[np.int64]) -> float:
    data = EntropyCoder().encode(codes)
    assert data is not None
    return 8 * len(data) / codes.size


def entropy(codes: NDArray[np.int64]) -> float:
    shares = np.unique(codes, return_counts=True)[1] / codes.size
    return float(-(shares * np.log2(shares)).sum())


@pytest.mark.parametrize("step", [0.05, 0.2, 0.7, 1.5, 3.0])
@pytest.mark.parametrize("name", ["gaussian", "laplacian"])
def test_bits_are_within_two_percent_of_the_entropy(name: str, step: float) -> None:
    codes = EntropyStep(step=step).encode(Factor(source(name)))["codes"]
    assert coded_bits(codes) <= 1.02 * entropy(codes) + TABLE_BITS


@pytest.mark.parametrize("step", [0.05, 0.1, 0.2])
def test_gaussian_rates_lie_a_quarter_bit_above_the_bound(step: float) -> None:
    values, precision = source("gaussian"), EntropyStep(step=step)
    streams = precision.encode(Factor(values))
    distortion = np.mean((precision.decode(streams, SHAPE, None) - values) ** 2)
    bound = 0.5 * np.log2(np.mean(values**2) / distortion)
    assert bound + 0.2 < coded_bits(streams["codes"]) < bound + 0.3
