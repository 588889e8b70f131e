"""Weights that run as blocks of thin products."""

import itertools
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from strategies import gaussian

from autocompress.engines.onnx.graph import Graph
from autocompress.engines.onnx.session import open_session
from autocompress.engines.onnx.thin import GroupedMap
from autocompress.engines.onnx.weights import Dense, Map
from autocompress.plan import Runtime

ROWS, RANKS, COLS = (11, 9, 20), (3, 5, 4), 48
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
FEW, ALL = 1e-5, {"float32": 1e-5, "int8": 0.03, "int4": 0.3}


def grouped(blocks: int, runtime: Runtime, *, ordered: bool) -> tuple[GroupedMap, NDArray[Any]]:
    """Return blocks of rows, and the matrix that they stand for."""
    sizes = list(zip(ROWS, RANKS, strict=True))[:blocks]
    lefts = [gaussian((rows, rank), seed) for seed, (rows, rank) in enumerate(sizes)]
    rights = [gaussian((rank, COLS), 10 + seed) for seed, (_, rank) in enumerate(sizes)]
    order = np.arange(sum(ROWS[:blocks]))
    order = order if ordered else np.random.default_rng(0).permutation(order)
    found = GroupedMap(
        tuple(Dense(f"left{number}", left, runtime) for number, left in enumerate(lefts)),
        tuple(Dense(f"right{number}", right, runtime) for number, right in enumerate(rights)),
        order,
        np.searchsorted(np.cumsum(ROWS[:blocks]), order, side="right"),
    )
    products = [left @ right for left, right in zip(lefts, rights, strict=True)]
    return found, np.concatenate(products)[order]
