"""The layout of safetensors: what that library writes and reads, we do, and what it refuses."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from autocompress.artifact.tensors import lay_out, parse

DTYPES = ["?", "i1", "u1", "i2", "u2", "f2", "i4", "u4", "f4", "c8", "f8", "i8", "u8"]
METADATA = {"autocompress": "x", "größe": '\\ " \n'}


def tensors() -> dict[str, NDArray[Any]]:
    """Return arrays of all types, some of no elements, of no axes, not in order, or not ours."""
    found: dict[str, NDArray[Any]] = {f"a.{t}": np.arange(6).astype(t) for t in DTYPES}
    found |= {
        "scalar": np.array(7, dtype=np.int16),
        "empty": np.zeros((0, 3), dtype=np.int64),
        'größe "quoted" \\ \n ': np.array([1], dtype=np.uint8),
        "transposed": np.arange(12, dtype=np.int32).reshape(3, 4).T,
        "strided": np.arange(12, dtype=np.int32)[::2],
    }
    return found


def written(found: dict[str, NDArray[Any]]) -> bytes:
    head, pieces = lay_out(found, METADATA)
    return b"".join([head, *pieces])


def assert_equal(ours: dict[str, NDArray[Any]], theirs: dict[str, NDArray[Any]]) -> None:
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        assert (ours[name].dtype, ours[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(ours[name], array)


def test_the_library_reads_what_we_write() -> None:
    assert_equal(safetensors.numpy.load(written(tensors())), tensors())


def test_we_read_what_the_library_writes() -> None:
    plain = {name: np.asarray(array, order="C") for name, array in tensors().items()}
    metadata, found = parse(safetensors.numpy.save(plain, METADATA))
    assert metadata == METADATA
    assert_equal(found, plain)


def test_we_read_what_we_write() -> None:
    metadata, found = parse(written(tensors()))
    assert metadata == METADATA
    assert_equal(found, tensors())


def test_the_order_of_the_tensors_does_not_matter() -> None:
    assert written(dict(reversed(tensors().items()))) == written(tensors())


def test_nothing_is_copied() -> None:
    array = np.arange(1000, dtype=np.int64)
    _, pieces = lay_out({"a": array}, {})
    assert np.shares_memory(np.frombuffer(pieces[0], np.uint8), array)
    data = written({"a": array})
    assert np.shares_memory(parse(data)[1]["a"], np.frombuffer(data, np.uint8))


def test_elements_lie_at_multiples_of_their_size() -> None:
    data = written(tensors())
    first = np.frombuffer(data, np.uint8).ctypes.data
    for array in parse(data)[1].values():
        assert (array.ctypes.data - first) % array.itemsize == 0


def test_types_that_the_layout_lacks_are_refused() -> None:
    with pytest.raises(TypeError, match="'a' cannot be stored: its elements are complex128"):
        lay_out({"a": np.zeros(1, np.complex128)}, {})


def file(table: Any, body: bytes = b"", *, length: int | None = None) -> bytes:
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def entry(dtype: Any = "U8", shape: Any = (2,), offsets: Any = (0, 2), **more: Any) -> Any:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


BROKEN = {
    "empty": b"",
    "short": b"\1\0\0",
    "longer than the file": file({}, length=3),
    "endless": b"\xff" * 64,
    "list": file([]),
    "text": file("a"),
    "no JSON": file(b"{"),
    "no UTF-8": file(b'{"\xff":{}}'),
    "half a character": file(rb'{"\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
    "deep": file(b'{"a":' * 10**4 + b"1" + b"}" * 10**4),
    "huge number": file(
        b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,1%s]}}' % (b"0" * 5000)
    ),
    "no entry": file({"a": None}),
    "no shape": file({"a": {"dtype": "U8", "data_offsets": [0, 0]}}),
    "unknown type": file({"a": entry("U3")}, b"ab"),
    "type of no name": file({"a": entry(1)}, b"ab"),
    "type that is a list": file({"a": entry(["U8"])}, b"ab"),
    "negative shape": file({"a": entry(shape=(-1, -2))}, b"ab"),
    "shape of fractions": file({"a": entry(shape=(2.0,))}, b"ab"),
    "shape of truths": file({"a": entry(shape=(True, 2))}, b"ab"),
    "shape of texts": file({"a": entry(shape="2")}, b"ab"),
    "huge shape": file({"a": entry(shape=(2**40, 2**40))}, b"ab"),
    "shape of two": file({"a": entry(shape=(3,))}, b"ab"),
    "offsets of three": file({"a": entry(offsets=(0, 2, 2))}, b"ab"),
    "offsets backwards": file({"a": entry(offsets=(2, 0))}, b"ab"),
    "offsets of fractions": file({"a": entry(offsets=(0, 2.0))}, b"ab"),
    "offsets of truths": file({"a": entry(shape=(1,), offsets=(False, True))}, b"a"),
    "offset beyond": file({"a": entry(offsets=(0, 2))}, b"a"),
    "gap before": file({"a": entry(offsets=(1, 3))}, b"abc"),
    "gap between": file({"a": entry(), "b": entry(offsets=(3, 5))}, b"abcde"),
    "overlap": file({"a": entry(), "b": entry(offsets=(1, 3))}, b"abc"),
    "same place": file({"a": entry(), "b": entry()}, b"ab"),
    "bytes left": file({"a": entry()}, b"abc"),
    "metadata of numbers": file({"__metadata__": {"a": 1}}),
    "metadata of no object": file({"__metadata__": "a"}),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_files_that_the_library_refuses_are_refused(data: bytes) -> None:
    with pytest.raises((safetensors.SafetensorError, TypeError, KeyError)):
        safetensors.numpy.load(data)
    with pytest.raises(ValueError):  # noqa: PT011, of whatever text
        parse(data)


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValueError, match="'a' is of an unknown type or shape"):
        parse(file({"a": entry(stride=1)}, b"ab"))
