"""Buffers: tensors that are no weights, exactly as they are, compressed where that pays."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autocompress.artifact.assets import MAX_ASSET_BYTES, pack_asset, unpack_asset
from autocompress.artifact.tensors import CODES, code_of
from autocompress.errors import ArtifactError

BUFFER, PACKED = ":buffer:", ":packed:"
_SIZES = r"(?:[0-9]{1,10}(?:x[0-9]{1,10})*)?"
_PACKED_NAME = re.compile(f":packed:([A-Z0-9]+):({_SIZES}):(.+)", re.DOTALL)
_WORTH = 64  # bytes; what a longer name takes, and then some

Arrays = Mapping[str, NDArray[Any]]


def pack_buffers(buffers: Arrays) -> dict[str, NDArray[Any]]:
    """Return buffers as the container's tensors: as they are, or compressed like an asset.

    Masks and tables have much in common from row to row; most others are small.

    Raises:
        TypeError: If elements are of a type that the container does not know.
    """
    stored: dict[str, NDArray[Any]] = {}
    for name, array in buffers.items():
        code = code_of(name, array)
        data = np.ascontiguousarray(array).astype(CODES[code], copy=False).tobytes()
        packed = _packed(data) if len(data) > _WORTH else data
        if len(packed) + _WORTH < len(data):
            shape = "x".join(map(str, array.shape))
            stored[f"{PACKED}{code}:{shape}:{name}"] = np.frombuffer(packed, np.uint8)
        else:
            stored[f"{BUFFER}{name}"] = array
    return stored


@lru_cache(maxsize=32)  # all files of a search hold the same ones, and compressing takes long
def _packed(data: bytes) -> bytes:
    return pack_asset(data)


def unpack_buffers(stored: Arrays) -> dict[str, NDArray[Any]]:
    """Undo `pack_buffers`: new arrays by name.

    Raises:
        ArtifactError: If one is damaged, or all together would become more than 2^30 bytes.
    """
    buffers: dict[str, NDArray[Any]] = {}
    left = MAX_ASSET_BYTES
    for place, array in stored.items():
        if place.startswith(BUFFER):
            buffers[place.removeprefix(BUFFER)] = array.copy()
            continue
        found = _PACKED_NAME.fullmatch(place)
        if found is None or found[1] not in CODES or array.dtype != np.uint8:
            raise ArtifactError(f"buffer {place!r} is damaged; copy the file again")
        code, sizes, name = found.groups()
        shape = tuple(int(size) for size in sizes.split("x")) if sizes else ()
        length = math.prod(shape) * CODES[code].itemsize
        if length > left:
            raise ArtifactError(f"buffer '{name}' is damaged: {length} bytes, of {left} allowed")
        data = unpack_asset(f"buffer '{name}'", array, length)
        if len(data) != length:
            raise ArtifactError(f"buffer '{name}' is damaged: {len(data)} bytes, not {length}")
        left -= length
        buffers[name] = np.frombuffer(data, CODES[code]).reshape(shape).copy()
    return buffers
