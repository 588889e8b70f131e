"""Moments of wide vectors: blocks of as many columns as memory allows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from autocompress.knowledge import moments
from autocompress.knowledge.moments import MomentSum, widths_of
from autocompress.precisions import EqualSlope
from autocompress.structures import Curvature, Factor, LowRank, Matrix


@pytest.mark.parametrize(
    ("rows", "cols", "kept"),
    [
        (6000, 1500, "whole"),
        (3, 2048, "whole"),
        (64, 50_000, "blocks"),
        (4096, 4096, "blocks"),
        (20_000, 3000, "whole"),
        (4, 50_000, "diagonal"),
    ],
)
def test_a_moment_takes_no_more_memory_than_its_weight(rows: int, cols: int, kept: str) -> None:
    widths = widths_of(rows, cols)
    assert kept == ("whole" if not widths else "diagonal" if max(widths) == 1 else "blocks")
    if widths:
        assert sum(widths) == cols
        assert 4 * sum(width**2 for width in widths) <= 4 * rows * cols


@pytest.fixture
def vectors() -> torch.Tensor:
    """Of which neighbouring elements go together."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(400, 8, generator=generator).repeat_interleave(8, dim=1)
    return shared + torch.randn(400, 64, generator=generator) / 2


def moment_of(vectors: torch.Tensor, widths: tuple[int, ...], rows: int) -> Curvature:
    added = MomentSum(widths, vectors.shape[1])
    for batch in torch.split(vectors, 100):
        added.add(batch, lambda m: m / 100)
    return added.curvature(np.ones(rows), 4)


def test_blocks_and_the_diagonal_are_those_of_the_whole(vectors: torch.Tensor) -> None:
    whole = moment_of(vectors, (), 8)
    blocks = moment_of(vectors, (16, 16, 16, 10, 6), 8)
    for cols, part in blocks.parts:
        np.testing.assert_allclose(part, whole.moment[cols, cols], rtol=1e-5, atol=1e-6)
    diagonal = moment_of(vectors, (1,) * 64, 8)
    for one in (blocks, diagonal):
        np.testing.assert_allclose(one.diagonal, np.diag(whole.moment), rtol=1e-5)
    again = Curvature.of_arrays(blocks.arrays)
    assert again.widths == blocks.widths
    assert np.array_equal(again.moment, blocks.moment)


def test_the_more_is_known_of_wide_inputs_the_less_is_lost(vectors: torch.Tensor) -> None:
    rng = np.random.default_rng(0)
    weight: Matrix = rng.standard_normal((32, 64)).astype(np.float32)
    exact = moment_of(vectors, (), 32)
    rises = []
    for widths in (None, (1,) * 64, (16,) * 4, ()):
        curvature = None if widths is None else moment_of(vectors * SCALES, widths, 32)
        rises.append(scaled(exact).rise(rounded(weight, curvature) - weight))
    nothing, diagonal, blocks, whole = rises
    assert nothing > diagonal > blocks * 1.1
    assert blocks > whole * 0.99


SCALES = torch.linspace(0.1, 3, 64)


def scaled(curvature: Curvature) -> Curvature:
    scales = SCALES.numpy().astype(np.float64)
    return Curvature(curvature.rows, curvature.moment * np.outer(scales, scales))


def rounded(weight: Matrix, curvature: Curvature | None) -> Matrix:
    """Return a weight after rounding to about 3.5 bits, whatever is known."""
    low, high = -40.0, 40.0
    for _ in range(40):
        precision = EqualSlope(slope=2.0 ** ((low + high) / 2))
        codes = precision.encode(Factor(weight, curvature=curvature))["codes"]
        _, counts = np.unique(codes, return_counts=True)
        shares = counts / codes.size
        if -(shares * np.log2(shares)).sum() > 3.5:
            low = (low + high) / 2
        else:
            high = (low + high) / 2
    return precision.quantize(Factor(weight, curvature=curvature))


@pytest.mark.parametrize("widths", [(), (16,) * 4, (1,) * 64])
@pytest.mark.parametrize("rows", [100, 20])
def test_a_fit_to_the_loss_beats_one_to_the_elements(
    vectors: torch.Tensor, widths: tuple[int, ...], rows: int
) -> None:
    rng = np.random.default_rng(0)
    weight: Matrix = rng.standard_normal((rows, 64)).astype(np.float32)
    known = moment_of(vectors * SCALES, widths, rows)
    rises = []
    for structure in (LowRank(rank=8), LowRank(rank=8, fit="loss")):
        factors = structure.factorize(weight, None, known)
        found = structure.reconstruct({key: one.values for key, one in factors.items()})
        rises.append(known.rise(found - weight))
    assert rises[1] < 0.9 * rises[0]


def test_a_wide_layer_is_calibrated_by_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "WHOLE", 32)
    assert widths_of(16, 40) == (4,) * 10
