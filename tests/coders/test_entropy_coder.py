"""The bytes of the entropy coder, and what they save."""

import numpy as np
import pytest

from autocompress.coders import Codes, EntropyCoder, PackedCoder
from autocompress.errors import ArtifactError

SAMPLE = np.array([[0, 1, 0, -1, 0, 0, 2, 0], [9, -9, 3, 8, -5, 0, 9, -7]])
CLASSES = np.array([[0, 0, 0, 0, 0, 0, 1, 0], [90, 92, 93, 90, 91, 92, 93, 91]])
# The format: these never change.
FROZEN_ONE = "01f7ffffff130015ff15ff15ffffff1500151515ffffffff150da24b709160c9d8a2"
FROZEN_SEVERAL = "02000000000200000000000000020000165a000000040000000000ec7d3433a7090000"


def laplacian(rows: int, scale: float, seed: int = 0) -> Codes:
    values = np.random.default_rng(seed).laplace(scale=scale, size=(rows, 64))
    return np.rint(values).astype(np.int64)


def length(codes: Codes) -> int:
    data = EntropyCoder().encode(codes)
    assert data is not None
    return len(data)


def test_bytes_of_one_class_are_frozen() -> None:
    data = EntropyCoder().encode(SAMPLE)
    assert data is not None
    assert data.hex() == FROZEN_ONE


def test_bytes_of_several_classes_are_frozen() -> None:
    data = EntropyCoder().encode(CLASSES)
    assert data is not None
    assert data.hex() == FROZEN_SEVERAL


@pytest.mark.parametrize(
    ("frozen", "codes"),
    [
        pytest.param(FROZEN_ONE, SAMPLE, id="one class"),
        pytest.param(FROZEN_SEVERAL, CLASSES, id="several classes"),
    ],
)
def test_frozen_bytes_decode(frozen: str, codes: Codes) -> None:
    decoded = EntropyCoder().decode(bytes.fromhex(frozen), (codes.shape[0], codes.shape[1]))
    assert np.array_equal(decoded, codes)


def test_rows_of_different_scales_gain_from_classes() -> None:
    fine, coarse = laplacian(1000, 1.0), laplacian(1000, 60.0)
    mixed = np.concatenate([fine, coarse])[np.random.default_rng(1).permutation(2000)]
    shares = np.unique(mixed, return_counts=True)[1] / mixed.size
    entropy_bytes = -(shares * np.log2(shares)).sum() * mixed.size / 8
    assert length(mixed) < 0.95 * entropy_bytes


def test_classes_cost_little_more_than_apart() -> None:
    fine, coarse = laplacian(1000, 1.0), laplacian(1000, 60.0)
    mixed = np.concatenate([fine, coarse])
    assert length(mixed) <= 1.03 * (length(fine) + length(coarse))


def test_zeros_cost_nearly_nothing() -> None:
    codes = np.zeros((1000, 100), dtype=np.int64)
    assert length(codes) == 8


def test_rare_integers_cost_little() -> None:
    codes = np.zeros((100, 100), dtype=np.int64)
    codes[::10, ::10] = 1
    ideal = 10_000 * (0.01 * np.log2(100) + 0.99 * np.log2(1 / 0.99)) / 8
    assert length(codes) <= 1.05 * ideal + 20


def test_skewed_integers_are_shorter_than_packed() -> None:
    codes = laplacian(100, 3.0)
    assert length(codes) < 0.7 * len(PackedCoder().encode(codes))


@pytest.mark.parametrize(
    "codes",
    [
        pytest.param(np.array([[0, 4096]]), id="wide"),
        pytest.param(np.array([[-(2**63), 2**63 - 1]]), id="widest"),
        pytest.param(np.array([[2**31, 2**31 + 1]]), id="large"),
        pytest.param(np.array([[-(2**31) - 1, -(2**31)]]), id="negative"),
    ],
)
def test_what_does_not_fit_a_table_is_declined(codes: Codes) -> None:
    assert EntropyCoder().encode(codes) is None


def test_the_widest_alphabet_is_exact() -> None:
    codes = np.arange(4096).reshape(64, 64)
    data = EntropyCoder().encode(codes)
    assert data is not None
    assert np.array_equal(EntropyCoder().decode(data, (64, 64)), codes)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "out of range"),
        (b"\0", "wrong length"),
        (b"\1\0\0\0\0\0\0", "a table without levels"),
        (b"\1\0\0\0\0\2\0\xff\xff", "a table without levels"),
        (b"\1\0\0\0\0\1\0\0\1", "wrong length"),
        (b"\2" + 3 * b"\5\0\0\0\1\0\0", "a row of an unknown class"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, reason: str) -> None:
    with pytest.raises(ArtifactError, match=reason):
        EntropyCoder().decode(data, (2, 2))
