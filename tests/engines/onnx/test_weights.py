"""Weights in 8 and in 4 bits."""

import numpy as np
import pytest
from strategies import gaussian

from autocompress.engines.onnx.weights import to_int4, to_int8


def test_rounding_to_8_bits_errs_by_half_a_step() -> None:
    matrix = gaussian((30, 17))
    codes, scale = to_int8(matrix)
    assert np.abs(codes * scale - matrix).max() <= scale / 2 * 1.001
    assert np.abs(codes).max() == 127
    assert to_int8(np.zeros((2, 3), np.float32))[0].tolist() == [[0] * 3] * 2


@pytest.mark.parametrize("cols", [7, 32, 45])
def test_rounding_to_4_bits_errs_by_half_a_step_but_at_one_end(cols: int) -> None:
    matrix = gaussian((30, cols))
    codes, scales = to_int4(matrix)
    steps = np.repeat(scales, 32, axis=1)[:, :cols]
    assert codes.min() == -8
    assert codes.max() <= 7
    errors = np.abs(codes * steps - matrix) / np.abs(steps)
    assert errors[codes < 7].max() <= 0.501
    assert errors.max() <= 1.001  # 8 steps away from zero, on the side of which there are 7
