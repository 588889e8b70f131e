"""What holds for every coder, and for the choice among them."""

import numpy as np
import pytest

from autocompress.coders import CODERS, Codes, decode, encode_smallest
from autocompress.errors import ArtifactError
from autocompress.testing import check_coder

SHAPES = ((1, 1), (1, 7), (3, 5), (31, 33))
# These suit matrices of many rows alone, and have files of their own.
GENERAL = [name for name in CODERS if name not in ("contexts", "trellis")]
each_coder = pytest.mark.parametrize("name", GENERAL)
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}x{shape[1]}")


def integers(low: int, high: int, shape: tuple[int, int], seed: int = 0) -> Codes:
    """Return integers in [low, high], both of which occur where there is room."""
    codes = np.random.default_rng(seed).integers(low, high, size=shape, endpoint=True)
    codes.flat[0], codes.flat[-1] = low, high
    return codes


def skewed(shape: tuple[int, int], scale: float = 3.0, seed: int = 0) -> Codes:
    values = np.random.default_rng(seed).laplace(scale=scale, size=shape)
    return np.rint(values).astype(np.int64)


def round_trip(name: str, codes: Codes) -> Codes:
    data = CODERS[name]().encode(codes)
    assert data is not None
    rows, cols = codes.shape
    return decode(name, data, (rows, cols))


@each_shape
@pytest.mark.parametrize("bits", range(1, 17))
def test_smallest_coding_is_exact_for_all_widths(bits: int, shape: tuple[int, int]) -> None:
    codes = integers(0, 2**bits - 1, shape)
    assert np.array_equal(decode(*encode_smallest(codes), shape), codes)


@each_coder
@each_shape
@pytest.mark.parametrize("bits", range(1, 13))
def test_every_coder_is_exact_up_to_twelve_bits(
    name: str, bits: int, shape: tuple[int, int]
) -> None:
    codes = integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, shape)
    assert np.array_equal(round_trip(name, codes), codes)


@each_coder
@pytest.mark.parametrize("value", [0, 1, -1, 2**30, -(2**30), 2**31 - 1, -(2**31)])
def test_constants_are_exact(name: str, value: int) -> None:
    codes = np.full((5, 7), value, dtype=np.int64)
    assert np.array_equal(round_trip(name, codes), codes)


@each_coder
@each_shape
def test_skewed_integers_are_exact(name: str, shape: tuple[int, int]) -> None:
    assert np.array_equal(round_trip(name, skewed(shape)), skewed(shape))


@each_coder
def test_rows_of_different_scales_are_exact(name: str) -> None:
    codes = np.concatenate([skewed((9, 40), 2.5**power, power) for power in range(5)])
    assert np.array_equal(round_trip(name, codes), codes)


@pytest.mark.parametrize("name", CODERS)
def test_coders_conform(name: str) -> None:
    check_coder(CODERS[name]())


@pytest.mark.parametrize(
    "codes",
    [
        pytest.param(integers(-(2**62), 2**62, (3, 5)), id="63 bits"),
        pytest.param(integers(-(2**63), 2**63 - 1, (3, 5)), id="64 bits"),
        pytest.param(integers(2**40, 2**40 + 5, (3, 5)), id="narrow but large"),
        pytest.param(integers(0, 5000, (90, 90)), id="wide alphabet"),
    ],
)
def test_smallest_coding_is_exact_for_large_integers(codes: Codes) -> None:
    rows, cols = codes.shape
    assert np.array_equal(decode(*encode_smallest(codes), (rows, cols)), codes)


@pytest.mark.parametrize(
    "codes",
    [
        pytest.param(integers(0, 255, (4, 4)), id="few"),
        pytest.param(integers(0, 255, (200, 200)), id="many"),
        pytest.param(skewed((100, 100)), id="skewed"),
        pytest.param(np.zeros((50, 50), np.int64), id="zeros"),
        pytest.param(integers(0, 9999, (50, 50)), id="wide"),
    ],
)
def test_the_shortest_encoding_is_taken(codes: Codes) -> None:
    lengths = [
        len(data) for coder in CODERS.values() if (data := coder().encode(codes)) is not None
    ]
    assert len(encode_smallest(codes)[1]) == min(lengths)


@pytest.mark.parametrize(
    ("codes", "name"), [(skewed((100, 100)), "entropy"), (integers(0, 255, (4, 4)), "packed")]
)
def test_the_name_is_that_of_the_coder(codes: Codes, name: str) -> None:
    assert encode_smallest(codes) == (name, CODERS[name]().encode(codes))


def test_unknown_coders_are_named() -> None:
    with pytest.raises(ArtifactError, match="unknown coder 'zip'; known coders: packed, entropy"):
        decode("zip", b"", (1, 1))


def damaged(data: bytes) -> list[bytes]:
    """Return a message with every byte changed in some ways, cut at every length, and longer."""
    changed = [
        data[:place] + bytes([data[place] ^ change]) + data[place + 1 :]
        for place in range(len(data))
        for change in (1, 16, 128, 255)
    ]
    cut = [data[:length] for length in range(len(data))]
    return [*changed, *cut, data + b"\0", data + b"\0\0\0\0", data + b"\xff" * 8]


@each_coder
@pytest.mark.parametrize(
    "codes",
    [
        pytest.param(skewed((6, 5)), id="plain"),
        pytest.param(np.concatenate([skewed((4, 20)), skewed((4, 20), 90.0)]), id="classes"),
        pytest.param(np.full((3, 3), 7), id="constant"),
    ],
)
def test_damaged_bytes_give_an_artifact_error_or_integers(name: str, codes: Codes) -> None:
    data = CODERS[name]().encode(codes)
    assert data is not None
    rows, cols = codes.shape
    for message in damaged(data):
        try:
            decoded = decode(name, message, (rows, cols))
        except ArtifactError:
            continue
        assert decoded.dtype.kind == "i"
        assert decoded.shape == codes.shape


@each_coder
def test_random_bytes_give_an_artifact_error_or_integers(name: str) -> None:
    generator = np.random.default_rng(8)
    for length in range(200):
        try:
            decoded = decode(name, generator.bytes(length), (3, 4))
        except ArtifactError:
            continue
        assert decoded.dtype.kind == "i"
        assert decoded.shape == (3, 4)


@each_coder
@pytest.mark.parametrize("shape", [(6, 6), (5, 5), (2**20, 2**12), (1, 1)])
def test_another_shape_gives_an_artifact_error_or_integers(
    name: str, shape: tuple[int, int]
) -> None:
    data = CODERS[name]().encode(integers(0, 4000, (6, 5)))
    assert data is not None
    if name == "packed":
        with pytest.raises(ArtifactError, match="integers of 12 bits need"):
            decode(name, data, shape)
    elif shape[0] < 2**20:
        assert decode(name, data, shape).shape == shape
