"""Weights that run as blocks of thin products."""

from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from strategies import gaussian

from autocompress.engines.onnx.graph import Graph
from autocompress.engines.onnx.session import open_session
from autocompress.engines.onnx.thin import GroupedMap
from autocompress.engines.onnx.weights import Dense
from autocompress.plan import Runtime
from autocompress.structures import Matrix

ROWS, RANKS, COLS = (11, 9, 20), (3, 5, 4), 48
MOST = {"float32": 1e-5, "int8": 0.03, "int4": 0.3}


def grouped(blocks: int, runtime: Runtime, *, ordered: bool) -> tuple[GroupedMap, Matrix]:
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


def run(graph: Graph, inputs: dict[str, NDArray[Any]], width: int) -> Matrix:
    kinds = {"f": TensorProto.FLOAT, "i": TensorProto.INT64}
    taken = [
        helper.make_tensor_value_info(name, kinds[values.dtype.kind], values.shape)
        for name, values in inputs.items()
    ]
    given = helper.make_tensor_value_info("out", TensorProto.FLOAT, ("time", "batch", width))
    model = graph.model(taken, [given], {})
    found: Matrix = open_session(model.SerializeToString()).run(None, inputs)[0]
    return found


def apart(found: Matrix, expected: Matrix) -> float:
    return float(np.abs(found - expected).mean() / expected.std())


@pytest.mark.parametrize("runtime", get_args(Runtime))
@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize("ordered", [True, False], ids=["in order", "mixed"])
def test_rows_are_looked_up_and_vectors_multiplied(
    runtime: Runtime, blocks: int, ordered: bool
) -> None:
    weight, matrix = grouped(blocks, runtime, ordered=ordered)
    assert weight.is_ordered is ordered
    ids = np.random.default_rng(1).integers(len(matrix), size=(4, 5))
    graph = Graph("rows")
    graph.result(weight.rows(graph, "ids"), "out")
    found = run(graph, {"ids": ids}, COLS)
    assert found.shape == (4, 5, COLS)
    assert apart(found, matrix[ids]) < MOST[runtime]
    graph, x, bias = Graph("times"), gaussian((4, 5, COLS), 3), gaussian((len(matrix),), 4)
    graph.result(weight.times(graph, "x", graph.constant("bias", bias)), "out")
    found = run(graph, {"x": x}, len(matrix))
    assert apart(found, x @ matrix.T + bias) < MOST[runtime]


def test_rows_in_another_order_keep_their_blocks() -> None:
    weight, matrix = grouped(3, "float32", ordered=True)
    order = np.random.default_rng(2).permutation(len(matrix))
    graph, x = Graph("times"), gaussian((1, 2, COLS), 3)
    graph.result(weight.permuted(order).times(graph, "x"), "out")
    assert np.allclose(run(graph, {"x": x}, len(matrix)), x @ matrix[order].T, atol=1e-5)
