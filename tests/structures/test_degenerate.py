"""Moments without full rank, of zeros, of huge or tiny scale: nothing fails, nothing is NaN."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from autocompress.precisions import EqualSlope, Uniform
from autocompress.structures import Curvature, LowRank, Matrix

ROWS, COLS, BLOCKS = 12, 24, (10, 10, 4)


def inputs() -> dict[str, NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((64, COLS))
    one_hot = np.eye(COLS)[rng.integers(0, 5, 64)]
    return {
        "one-hot": one_hot,
        "a constant column": np.where(np.arange(COLS) == 3, 7.0, normal),
        "a column of zeros": np.where(np.arange(COLS) == 3, 0.0, normal),
        "one feature repeated": np.repeat(normal[:, :1], COLS, axis=1),
        "five features mixed": normal[:, :5] @ rng.standard_normal((5, COLS)),
        "a large mean": normal + 1e4,
        "scales from 1e-6 to 1e6": normal * np.geomspace(1e-6, 1e6, COLS),
        "three vectors": normal[:3],
        "one vector": normal[:1],
        "zeros": normal * 0,
    }


def moments() -> Iterator[tuple[str, Curvature]]:
    """Yield moments as they are measured: of sums in single precision."""
    for name, vectors in inputs().items():
        single = vectors.astype(np.float32)
        moment = (single.T @ single / len(single)).astype(np.float64)
        for exponent in (-30, 0, 30):
            rows = np.geomspace(1e-3, 1.0, ROWS)
            whole = Curvature(rows, moment * 10.0**exponent)
            yield f"{name}, 1e{exponent}, whole", whole
            yield f"{name}, 1e{exponent}, diagonal", Curvature(rows, whole.diagonal.copy())
            ends = np.cumsum((0, *BLOCKS))
            parts = [whole.moment[i:j, i:j].ravel() for i, j in pairwise(ends)]
            blocks = Curvature(rows, np.concatenate(parts), BLOCKS)
            yield f"{name}, 1e{exponent}, blocks", blocks


WEIGHT: Matrix = np.random.default_rng(1).standard_normal((ROWS, COLS)).astype(np.float32)
WEIGHTS = {
    "normal": WEIGHT,
    "zero": WEIGHT * 0,
    "constant": np.full_like(WEIGHT, 0.5),
    "1e30": WEIGHT * np.float32(1e30),
    "1e-30": WEIGHT * np.float32(1e-30),
    "subnormal": WEIGHT * np.float32(1e-40),
}
STRUCTURES = (LowRank(rank=5), LowRank(rank=5, fit="loss"), LowRank(rank=ROWS, fit="loss"))


@pytest.mark.parametrize("name", WEIGHTS)
def test_whatever_the_inputs_a_weight_is_stored(name: str) -> None:
    for what, curvature in moments():
        for structure in STRUCTURES:
            where = f"{what}, {structure.label()}"
            factors = structure.factorize(WEIGHTS[name], None, curvature)
            assert all(np.isfinite(factor.values).all() for factor in factors.values()), where
            for factor in factors.values():
                for precision in (Uniform(bits=8), EqualSlope(slope=1e-6)):
                    if precision.misfit(factor) is None:
                        assert np.isfinite(precision.quantize(factor)).all(), where
