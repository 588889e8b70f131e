"""The bytes of packed bits."""

import numpy as np
import pytest

from autocompress.coders import PackedCoder
from autocompress.errors import ArtifactError


def test_bytes_of_three_bits_worked_by_hand() -> None:
    # Less 5: 0, 7, 2, 1 in three bits, the least significant first: 000 111 010 100.
    data = PackedCoder().encode(np.array([[5, 12, 7, 6]]))
    assert data == bytes([5, 0, 0, 0, 0, 0, 0, 0, 3, 0b10111000, 0b0010])


def test_bytes_of_negative_integers_worked_by_hand() -> None:
    # Less -2: 0, 1, 1 in one bit each.
    data = PackedCoder().encode(np.array([[-2, -1, -1]]))
    assert data == bytes([254, 255, 255, 255, 255, 255, 255, 255, 1, 0b110])


def test_a_constant_is_nothing_but_its_header() -> None:
    assert PackedCoder().encode(np.full((40, 50), 300)) == bytes([44, 1, 0, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("bits", range(1, 17))
@pytest.mark.parametrize("size", [1, 7, 8, 9, 1001])
def test_no_bit_is_wasted(bits: int, size: int) -> None:
    codes = np.zeros((1, size), dtype=np.int64)
    codes[0, 0] = 2**bits - 1
    codes = np.concatenate([codes, np.zeros_like(codes)])
    assert len(PackedCoder().encode(codes)) == 9 + -(-2 * size * bits // 8)


@pytest.mark.parametrize("data", [b"", b"12345678"])
def test_an_incomplete_header_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError, match=f"need 9 bytes, but got {len(data)}"):
        PackedCoder().decode(data, (1, 1))


@pytest.mark.parametrize("change", [-1, 1])
def test_a_wrong_length_is_refused(change: int) -> None:
    data = PackedCoder().encode(np.arange(12).reshape(3, 4)) + b"\0"
    with pytest.raises(
        ArtifactError, match=f"12 integers of 4 bits need 6 bytes, .* {6 + change}"
    ):
        PackedCoder().decode(data[: len(data) - 1 + change], (3, 4))


def test_a_width_above_the_integers_is_refused() -> None:
    with pytest.raises(ArtifactError, match="65 bits"):
        PackedCoder().decode(bytes(8) + bytes([65]) + bytes(9), (1, 1))
