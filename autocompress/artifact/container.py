"""The container: how an artifact's parts lie in one file, and what is checked before its use.

`docs/format.md` specifies the format. The file has the layout of safetensors; its tensors are

- `:header`: zlib-compressed JSON of `Header`, uint8;
- one uint8 tensor per item, named by its weight or site: the streams of its factors one after
  another, each either coded integers or little-endian floats;
- `:asset:NAME`: a file such as the vocabulary, LZMA-compressed, uint8;
- `:lines:NAME`: such a file, compressed as lines, uint8;
- `:buffer:NAME`: a tensor that is no weight, as it is;
- `:packed:TYPE:SHAPE:NAME`: such a tensor, LZMA-compressed, uint8.

Nothing in the file is executed. Every length, shape and checksum is verified before use.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autocompress.artifact.assets import ASSET, LINES, kinds_of, pack_assets
from autocompress.artifact.buffers import BUFFER, PACKED, pack_buffers
from autocompress.artifact.headers import pack_header, read_header
from autocompress.artifact.records import Header
from autocompress.artifact.tensors import lay_out, parse
from autocompress.artifact.version import check_seal, seal, unsealed_metadata, version_of
from autocompress.errors import ArtifactError
from autocompress.support.files import write_whole

_HEADER = ":header"
# A small file may hold large matrices of zeros, but not so large that memory runs out.
_MAX_ELEMENTS = 2**26
_MAX_ELEMENTS_PER_BYTE = 2**10
# What rows and columns have of their own while a stream is decoded, such as sums and exponents.
_ELEMENTS_PER_LINE = 2**4

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Contents:
    """All that a file holds; arrays look into its bytes and cannot be written to.

    Attributes:
        size_bytes: Length of the file.
        header: What it says of itself.
        items: The bytes of every item, by its name.
        assets: Compressed files, as `pack_assets` stores them.
        buffers: Tensors that are no weights, as `pack_buffers` stores them.
    """

    size_bytes: int
    header: Header
    items: Mapping[str, Bytes]
    assets: Mapping[str, Bytes]
    buffers: Mapping[str, NDArray[Any]]


def write_container(
    path: Path,
    header: Header,
    items: Mapping[str, bytes | memoryview],
    assets: Mapping[str, bytes],
    buffers: Mapping[str, NDArray[Any]],
) -> None:
    """Write a file in one step: it appears whole or not at all.

    Args:
        path: The file.
        header: What the file is to say of itself; what it needs is added.
        items: The bytes of every item of the header, by its name.
        assets: Files, uncompressed, by name.
        buffers: Tensors that are no weights, by name.
    """
    tensors = _framework(header, assets, buffers)
    tensors |= {name: _as_array(data) for name, data in items.items()}
    head, others = lay_out(tensors, unsealed_metadata())
    write_whole(path, [seal(head, others), *others])


def container_sizes(
    header: Header,
    items: Mapping[str, bytes | memoryview],
    assets: Mapping[str, bytes],
    buffers: Mapping[str, NDArray[Any]],
) -> tuple[int, int]:
    """Return how long a file would be without a byte for its items, and as it would be written.

    Args:
        header: As for `write_container`, as are the others.
        items: The bytes of every item.
        assets: Files.
        buffers: Tensors that are no weights.
    """
    frame = _framework(header, assets, buffers)
    empty = {name: _as_array(b"") for name in items}
    whole = {name: _as_array(data) for name, data in items.items()}
    return _length({**frame, **empty}), _length({**frame, **whole})


def _framework(
    header: Header, assets: Mapping[str, bytes], buffers: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Return all tensors of a file but its items."""
    files = pack_assets(assets)
    packed = _as_array(pack_header(header, kinds_of(files)))
    return {_HEADER: packed, **files, **pack_buffers(buffers)}


def _length(tensors: Mapping[str, NDArray[Any]]) -> int:
    head, others = lay_out(tensors, unsealed_metadata())
    return len(head) + sum(piece.nbytes for piece in others)


def read_container(path: Path) -> Contents:
    """Read a file and check that it is whole.

    Raises:
        ArtifactError: If the file is missing, truncated, damaged, no artifact at all, or needs a
            later version of this package, or another package.
    """
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is no ordinary file")
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # a null byte in a name is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise ArtifactError(f"cannot read artifact {str(path)!r}: {reason}") from error
    return parse_container(path, data)


def parse_container(file: Path, data: bytes) -> Contents:
    """Take the bytes of a file apart, as `read_container` does.

    Args:
        file: What errors call it.
        data: All of its bytes.

    Raises:
        ArtifactError: As `read_container` does.
    """
    check_seal(file, data)
    try:
        metadata, tensors = parse(data)
    except ValueError as error:
        raise ArtifactError(
            f"'{file}' is not an artifact, or is truncated: {error}; copy it again"
        ) from error
    version = version_of(file, data, metadata)
    packed = tensors.pop(_HEADER, None)
    if packed is None or packed.dtype != np.uint8:
        raise ArtifactError(f"'{file}' is damaged: its header is missing")
    items = {name: tensor for name, tensor in tensors.items() if not name.startswith(":")}
    header = read_header(file, version, packed.tobytes(), items)
    _check_items(file, header, items)
    assets = {n: t for n, t in tensors.items() if n.startswith((ASSET, LINES))}
    buffers = {n: t for n, t in tensors.items() if n.startswith((BUFFER, PACKED))}
    return Contents(len(data), header, items, assets, buffers)


def _as_array(data: bytes | memoryview) -> Bytes:
    return np.frombuffer(data, dtype=np.uint8)


def _check_items(file: Path, header: Header, items: Mapping[str, Bytes]) -> None:
    """Compare what the header promises with what the file holds, before anything is allocated."""
    elements = 0
    for item in header.items:
        tensor = items.get(item.name)
        if tensor is None or tensor.dtype != np.uint8:
            raise ArtifactError(f"'{file}' is damaged: item {item.name!r} is missing")
        length = sum(stream.length for stream in item.streams)
        if length != tensor.nbytes:
            raise ArtifactError(
                f"'{file}' is damaged: item {item.name!r} has {tensor.nbytes} bytes, but its "
                f"streams add up to {length}"
            )
        elements += sum(math.prod(member.shape) for member in item.members)
        elements += sum(stream.shape[0] * stream.shape[1] for stream in item.streams)
        elements += sum(_ELEMENTS_PER_LINE * sum(stream.shape) for stream in item.streams)
    n_bytes = sum(tensor.nbytes for tensor in items.values())
    limit = _MAX_ELEMENTS + _MAX_ELEMENTS_PER_BYTE * n_bytes
    if elements > limit:
        raise ArtifactError(
            f"'{file}' is damaged: {n_bytes} bytes claim to hold {elements} elements; at most "
            f"{limit} are read"
        )
