"""What must hold for every coder."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from autocompress.coders import CODERS, Coder, Codes
from autocompress.errors import ArtifactError
from autocompress.support import trellis
from autocompress.testing.rules import as_shape, check_since, require, twice

_RANDOM_MESSAGES = 100
_MOST_PLACES = 200


def check_coder(coder: Coder) -> None:
    """Check a coder.

    Raises:
        AssertionError: If a rule is broken.
    """
    cls, name = type(coder), coder.name
    found = CODERS.get(name)
    require(found is cls, f"@CODERS.register must have its name: {name!r}", registered=found)
    check_since(cls)
    applied = []
    for what, codes in _samples():
        where = f"coder '{name}' of integers that are {what}, of shape {codes.shape}"
        data = twice(where, partial(coder.encode, codes), codes=codes)
        if data is None:
            continue
        require(isinstance(data, bytes), f"{where} must give bytes or None", type=type(data))
        known = coder.length(codes)
        require(known in (None, len(data)), f"{where}: `length` must be right or None", got=known)
        again = coder.encode(np.asfortranarray(codes))
        require(again == data, f"{where} must not depend on the memory layout")
        _check_widths(coder, codes, data, where)
        decoded = twice(f"decode of {where}", partial(coder.decode, data, as_shape(codes)))
        fits = decoded.dtype.kind == "i" and np.array_equal(decoded, codes)
        require(fits, f"{where} must be lossless", got=(decoded.dtype, decoded.shape))
        applied.append((what, codes, data))
    require(applied, f"coder '{name}' must apply to some integers")
    for what, codes, data in applied:
        if len(data) <= _MOST_PLACES * 4:
            _check_damage(coder, what, codes, data)
    generator = np.random.default_rng(8)
    for length in range(_RANDOM_MESSAGES):
        _check_hostile(coder, generator.bytes(length), (40, 3), "random bytes")


def _samples() -> Iterator[tuple[str, Codes]]:
    generator = np.random.default_rng(0)
    for shape in ((1, 1), (1, 7), (3, 5), (31, 33), (64, 6)):
        for value in (0, 1, -1, 2**31 - 1, -(2**31), 2**62, -(2**63)):
            yield f"all {value}", np.full(shape, value, np.int64)
        for bits in (1, 2, 3, 5, 8, 12, 16, 31, 63):
            low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
            yield f"of {bits} bits", generator.integers(low, high, shape, np.int64, endpoint=True)
        laplace = generator.laplace(scale=3.0, size=shape)
        yield "skewed", np.rint(laplace).astype(np.int64)
        scales = np.geomspace(0.1, 100, shape[0])[:, None]
        yield "of rows that differ", np.rint(laplace * scales).astype(np.int64)
        yield "never negative", np.abs(np.rint(laplace)).astype(np.int64)
    ends = np.array([[-(2**63), 2**63 - 1], [0, -1]], dtype=np.int64)
    yield "the smallest and the largest", ends
    yield "far from zero", generator.integers(2**40, 2**40 + 5, (40, 4))
    yield "of a wide alphabet", generator.integers(0, 5000, (90, 90))
    sparse = np.zeros((40, 8), np.int64)
    sparse[3, 2], sparse[20, 5] = 1, -300
    yield "nearly all zero", sparse
    yield "a path through a trellis", _path(generator, (40, 6))


def _path(generator: np.random.Generator, shape: tuple[int, int]) -> Codes:
    """Return rows whose levels are those that their states allow."""
    codes, states = np.zeros(shape, np.int64), trellis.begun(shape[0])
    for col in range(shape[1]):
        indices = np.rint(np.abs(generator.laplace(scale=2.0, size=shape[0]))).astype(np.int64)
        signs = generator.choice((-1, 1), shape[0])
        codes[:, col] = signs * trellis.levels_of(indices, trellis.is_odd(states))
        states = trellis.followed(states, indices)
    return codes


def _check_widths(coder: Coder, codes: Codes, data: bytes, where: str) -> None:
    """Integers of other types must give the same bytes, where the coder takes any."""
    for kind in (np.int8, np.int16, np.int32) if coder.frugal else ():
        limits = np.iinfo(kind)
        if limits.min <= codes.min() and codes.max() <= limits.max:
            narrow = coder.encode(codes.astype(kind))
            require(narrow == data, f"{where} must not depend on the type of integers", got=kind)


def _check_damage(coder: Coder, what: str, codes: Codes, data: bytes) -> None:
    """Change bytes, cut the message, and make it longer."""
    shape, where = as_shape(codes), f"damaged integers that were {what}"
    step = max(1, len(data) // _MOST_PLACES)
    for place in range(0, len(data), step):
        for change in (1, 128, 255):
            changed = bytes([data[place] ^ change])
            _check_hostile(coder, data[:place] + changed + data[place + 1 :], shape, where)
        _check_hostile(coder, data[:place], shape, where)
    for more in (b"\0", b"\0\0\0\0", b"\xff" * 8):
        _check_hostile(coder, data + more, shape, where)
    for other in ((shape[0] + 1, shape[1]), (shape[0], shape[1] + 1), (1, 1)):
        _check_hostile(coder, data, other, where)


def _check_hostile(coder: Coder, data: bytes, shape: tuple[int, int], what: str) -> None:
    where = f"decode of {what} by coder '{coder.name}'"
    try:
        decoded = coder.decode(data, shape)
    except ArtifactError:
        return
    except Exception as error:
        raise AssertionError(
            f"{where} must raise nothing but ArtifactError; but got {type(error).__name__}: "
            f"{error}, data={data[:40]!r}, shape={shape}"
        ) from error
    kind = decoded.dtype.kind, decoded.shape
    require(kind == ("i", shape), f"{where} must give integers of the shape", got=kind)
