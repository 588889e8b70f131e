"""Entropy coding of paths through a trellis."""

import struct
import zlib

import numpy as np
import pytest
from strategies import check_every_byte

from autocompress.coders import Codes, ContextCoder, TrellisCoder, encode_smallest
from autocompress.errors import ArtifactError
from autocompress.support import trellis

CODER = TrellisCoder()
SHAPES = ((32, 5), (33, 40), (500, 9))


def paths(shape: tuple[int, int], scale: float, seed: int = 0) -> Codes:
    """Return rows whose levels are those that their states allow, with columns of zeros."""
    generator = np.random.default_rng(seed)
    scales = scale * np.exp(-2 * np.arange(shape[0]) / shape[0])
    codes, states = np.zeros(shape, np.int64), trellis.begun(shape[0])
    for col in range(shape[1]):
        drawn = np.rint(np.abs(generator.laplace(size=shape[0]) * scales)).astype(np.int64)
        indices = drawn * (col % 4 != 3)
        signs = generator.choice((-1, 1), shape[0])
        codes[:, col] = signs * trellis.levels_of(indices, trellis.is_odd(states))
        states = trellis.followed(states, indices)
    return codes


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [0.3, 1, 10, 300, 10_000])
def test_paths_are_exact(shape: tuple[int, int], scale: float) -> None:
    codes = paths(shape, scale)
    data = CODER.encode(codes)
    assert data is not None
    assert np.array_equal(CODER.decode(data, shape), codes)


def test_paths_take_less_than_without_their_states() -> None:
    codes = paths((2000, 40), 2)
    name, data = encode_smallest(codes)
    assert name == "trellis"
    # Even or odd is no news: it would take a bit, but for levels of zero.
    assert len(data) < 0.85 * len(ContextCoder().encode(codes) or b"")


@pytest.mark.parametrize("col", [0, 5, 10])
def test_what_is_no_path_is_left_to_other_coders(col: int) -> None:
    codes = paths((40, 12), 5)
    row = int(np.flatnonzero(codes[:, col])[0])
    codes[row, col] += np.sign(codes[row, col])
    assert CODER.encode(codes) is None
    assert encode_smallest(codes)[0] != "trellis"


def test_even_integers_alone_are_left_to_other_coders() -> None:
    codes = np.zeros((64, 8), np.int64)
    assert CODER.encode(codes) is None
    codes[:, 7] = 2
    assert CODER.encode(codes) is None


def test_no_byte_can_raise_anything_but_an_artifact_error() -> None:
    check_every_byte(CODER, paths((64, 9), 2))


def test_tables_that_inflate_without_end_are_refused() -> None:

    bomb = zlib.compress(bytes(2**26), 9)
    with pytest.raises(ArtifactError, match="too long"):
        CODER.decode(struct.pack("<I", len(bomb)) + bomb, (64, 9))
