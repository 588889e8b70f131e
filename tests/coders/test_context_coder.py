"""Entropy coding in contexts."""

import numpy as np
import pytest
from strategies import check_every_byte

from autocompress.coders import Codes, ContextCoder, EntropyCoder, encode_smallest
from autocompress.coders.expectation import MEANS, Expectation
from autocompress.errors import ArtifactError

CODER = ContextCoder()
SHAPES = ((32, 1), (33, 40), (500, 9))


def uneven(shape: tuple[int, int], scale: float, seed: int = 0) -> tuple[Codes, float]:
    """Return Laplacian integers, each row and column of its own scale, and their ideal bytes."""
    rows = np.exp(-3 * np.arange(shape[0]) / shape[0])[:, None]
    cols = np.exp(-2 * np.random.default_rng(5).permutation(shape[1]) / shape[1])
    scales = scale * rows * cols
    codes = np.rint(np.random.default_rng(seed).laplace(size=shape) * scales).astype(np.int64)

    def below(values: np.ndarray) -> np.ndarray:
        tail = np.exp(-np.abs(values) / scales) / 2
        odds: np.ndarray = np.where(values < 0, tail, 1 - tail)
        return odds

    odds = below(codes + 0.5) - below(codes - 0.5)
    return codes, float(-np.log2(np.maximum(odds, 1e-300)).sum() / 8)


def round_trip(codes: Codes) -> Codes:
    data = CODER.encode(codes)
    assert data is not None
    return CODER.decode(data, (codes.shape[0], codes.shape[1]))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [0.01, 0.3, 1, 10, 300, 10_000])
def test_uneven_integers_are_exact(shape: tuple[int, int], scale: float) -> None:
    codes, _ = uneven(shape, scale)
    assert np.array_equal(round_trip(codes), codes)


@pytest.mark.parametrize("value", [0, 1, -1, 2**24 - 1, 1 - 2**24])
def test_constants_are_exact(value: int) -> None:
    codes = np.full((40, 3), value, dtype=np.int64)
    assert np.array_equal(round_trip(codes), codes)


def test_columns_of_zeros_and_single_integers_are_exact() -> None:
    codes = np.zeros((64, 12), dtype=np.int64)
    codes[17, 5], codes[63, 11] = -3, 2000
    assert np.array_equal(round_trip(codes), codes)


@pytest.mark.parametrize(
    "codes",
    [
        np.ones((31, 50), dtype=np.int64),
        np.full((40, 2), 2**24),
        np.where(np.arange(4000) == 7, 2**23, 0).reshape(2000, 2),
    ],
    ids=["few rows", "large", "an outlier that no table reaches"],
)
def test_what_contexts_do_not_suit_is_left_to_other_coders(codes: Codes) -> None:
    assert CODER.encode(codes) is None
    assert encode_smallest(codes)[0] != "contexts"


@pytest.mark.parametrize(("scale", "excess"), [(1, 0.07), (10, 0.025), (100, 0.01)])
def test_the_rate_is_close_to_that_of_a_coder_who_knows_all_scales(
    scale: float, excess: float
) -> None:
    codes, ideal = uneven((8000, 100), scale)
    assert len(CODER.encode(codes) or b"") < (1 + excess) * ideal


@pytest.mark.parametrize("scale", [1, 3, 30])
def test_the_rate_is_within_one_percent_of_the_conditional_entropy(scale: float) -> None:
    codes, _ = uneven((8000, 100), scale)
    magnitudes = np.abs(codes)
    means = np.searchsorted(MEANS, magnitudes.mean(axis=0))
    expectation = Expectation(len(codes), means, 3.0)
    seen = np.empty_like(codes)
    for col in range(codes.shape[1]):
        seen[:, col] = expectation.contexts(col)
        expectation.learn(magnitudes[:, col])
    bits = float(np.count_nonzero(codes))  # of signs
    for context in np.unique(seen):
        _, counts = np.unique(magnitudes[seen == context], return_counts=True)
        bits -= float((counts * np.log2(counts / counts.sum())).sum())
    assert 8 * len(CODER.encode(codes) or b"") < 1.01 * bits


def test_uneven_integers_take_less_than_in_classes_of_rows() -> None:
    codes, _ = uneven((4000, 100), 2)
    name, data = encode_smallest(codes)
    assert name == "contexts"
    assert len(data) < 0.96 * len(EntropyCoder().encode(codes) or b"")


@pytest.mark.parametrize("kept", [0, 5, 9, 20, 30, 200, -4, -1])
def test_truncated_bytes_are_refused_or_give_other_integers(kept: int) -> None:
    codes, _ = uneven((500, 9), 2)
    data = CODER.encode(codes) or b""
    try:
        other = CODER.decode(data[:kept], (500, 9))
    except ArtifactError:
        return
    assert not np.array_equal(other, codes)


def test_no_byte_can_raise_anything_but_an_artifact_error() -> None:
    check_every_byte(CODER, uneven((64, 9), 2)[0])
