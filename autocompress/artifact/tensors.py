"""Named tensors in one file: the layout of safetensors, written and read without copies.

Eight bytes hold the length of the table of contents, a JSON object, little-endian; after it come
the tensors, without gaps. That library has one order of its own for the metadata, and copies.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

LENGTH_BYTES = 8
_METADATA = "__metadata__"
_ALIGNMENT = 8
_MAX_TABLE_BYTES = 2**23
_TYPES = {
    "BOOL": "|b1",
    "I8": "|i1",
    "U8": "|u1",
    "I16": "<i2",
    "U16": "<u2",
    "F16": "<f2",
    "I32": "<i4",
    "U32": "<u4",
    "F32": "<f4",
    "C64": "<c8",
    "F64": "<f8",
    "I64": "<i8",
    "U64": "<u8",
}
CODES: dict[str, np.dtype[Any]] = {code: np.dtype(text) for code, text in _TYPES.items()}
"""The types of elements by what the table calls them."""
_NAMES = {dtype: code for code, dtype in CODES.items()}

Tensors = Mapping[str, NDArray[Any]]


class _Place(NamedTuple):
    first: int
    last: int
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def code_of(name: str, array: NDArray[Any]) -> str:
    """Return what the table calls the type of an array's elements.

    Raises:
        TypeError: If there is no such type.
    """
    dtype = array.dtype.newbyteorder("<")
    if dtype not in _NAMES:
        raise TypeError(f"'{name}' cannot be stored: its elements are {array.dtype}")
    return _NAMES[dtype]


def lay_out(tensors: Tensors, metadata: Mapping[str, str]) -> tuple[bytes, list[memoryview]]:
    """Return the pieces of a file: length and table of contents, and the bytes of each tensor.

    The widest elements come first, so that all lie where a processor likes to read them.

    Args:
        tensors: Arrays by name.
        metadata: Texts by name, the first in the table, in their order.

    Raises:
        TypeError: If an array's elements are of a type that the layout does not know.
    """
    table: dict[str, Any] = {_METADATA: dict(metadata)}
    pieces, first = [], 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].itemsize, name)):
        array = tensors[name]
        code = code_of(name, array)
        flat = array.astype(CODES[code], copy=False).ravel()
        last = first + flat.nbytes
        table[name] = {
            "dtype": code,
            "shape": list(array.shape),
            "data_offsets": [first, last],
        }
        pieces.append(flat.view(np.uint8).data)
        first = last
    text = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text, pieces


def parse(data: bytes) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    """Return metadata and tensors of a file, arrays that look into its bytes.

    Raises:
        ValueError: If it is no such file: every byte must belong to the table or to one tensor.
    """
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    start = LENGTH_BYTES + length
    if len(data) < start or length > _MAX_TABLE_BYTES:
        raise ValueError(f"a table of contents of {length} bytes, in a file of {len(data)}")
    table = from_json(data[LENGTH_BYTES:start])
    if not isinstance(table, dict):
        raise ValueError("no table of contents")
    metadata = _metadata(table.pop(_METADATA, {}))
    places = sorted(_place(name, entry) for name, entry in table.items())
    end = 0
    for place in places:
        if place.first != end:
            raise ValueError(f"{place.name!r} begins at {place.first} instead of {end}")
        end = place.last
    if start + end != len(data):
        raise ValueError(f"tensors of {end} bytes, where there are {len(data) - start}")
    return metadata, {place.name: _array(data, start, place) for place in places}


def _metadata(found: object) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise ValueError("metadata that are no texts")
    return found


def _place(name: str, entry: object) -> _Place:
    match entry:
        case {"dtype": str(code), "shape": [*shape], "data_offsets": [first, last], **rest}:
            numbers = [first, last, *shape]
            if rest or code not in CODES or not all(map(_is_size, numbers)):
                raise ValueError(f"{name!r} is of an unknown type or shape")
        case _:
            raise ValueError(f"{name!r} has no type, no shape or no place")
    size = math.prod(shape) * CODES[code].itemsize
    if last - first != size:
        raise ValueError(f"{name!r} has {last - first} bytes, but its shape needs {size}")
    return _Place(first, last, name, CODES[code], tuple(shape))


def _is_size(number: object) -> bool:
    return type(number) is int and 0 <= number < 2**63


def _array(data: bytes, start: int, place: _Place) -> NDArray[Any]:
    count = (place.last - place.first) // place.dtype.itemsize
    flat = np.frombuffer(data, place.dtype, count, start + place.first)
    return flat.reshape(place.shape)
