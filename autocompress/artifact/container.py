"""The container: how an artifact's parts lie in one safetensors file, and what is checked.

File layout, format version 1. The safetensors metadata are `{"autocompress": "1"}`: one key alone,
since safetensors writes several in no fixed order. The tensors are:

- `:header`: zlib-compressed JSON of `Header`, uint8;
- one uint8 tensor per item, named by its weight or site: the streams of its factors one after
  another, each either coded integers or little-endian floats;
- `:asset:NAME`: a file such as the vocabulary, LZMA-compressed, uint8;
- `:buffer:NAME`: a tensor that is not floating-point, as it is.

Nothing in the file is executed. Every length, shape and checksum is verified before use.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from autocompress import coders
from autocompress.errors import ArtifactError
from autocompress.plan import Treatment, describe_validation_error
from autocompress.precisions import Stream

FORMAT_VERSION = 1
_VERSION = "autocompress"
_HEADER, _ASSET, _BUFFER = ":header", ":asset:", ":buffer:"
_FLOATS: dict[str, np.dtype[np.floating]] = {"f2": np.dtype("<f2"), "f4": np.dtype("<f4")}
_MAX_HEADER_BYTES = 2**22
_MAX_ASSET_BYTES = 2**30
# A small file may hold large matrices of zeros, but not so large that memory runs out.
_MAX_ELEMENTS = 2**26
_MAX_ELEMENTS_PER_BYTE = 2**10
_LZMA_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "pb": 0}]
_SMALLEST_PAST, _LARGEST_PAST = 2**20, 2**26

Size = Annotated[int, Field(ge=0, lt=2**40)]
Dimension = Annotated[int, Field(ge=1, lt=2**40)]
Bytes = NDArray[np.uint8]


class _Record(BaseModel):
    # Sequences fail fast: a small hostile header could have millions of findings.

    model_config = ConfigDict(frozen=True, extra="forbid")


class StreamRecord(_Record):
    """Where a stream lies in its item and how it was written.

    Attributes:
        name: Its name within the factor.
        coder: Name of a coder of integers, or "f2" or "f4" for floats.
        shape: Rows and columns of the decoded array.
        length: Bytes.
    """

    name: str
    coder: str
    shape: tuple[Dimension, Dimension]
    length: Size


class MemberRecord(_Record):
    """A weight of an item; the rows of its members are stacked in this order."""

    name: str
    aliases: tuple[str, ...] = Field((), fail_fast=True)
    shape: tuple[Dimension, ...] = Field(max_length=64)


class ItemRecord(_Record):
    """A weight, or the weights of a site, stored by one treatment."""

    name: str
    members: tuple[MemberRecord, ...] = Field(min_length=1, fail_fast=True)
    treatment: Treatment
    factors: dict[str, Annotated[tuple[StreamRecord, ...], Field(fail_fast=True)]]
    crc32: Size


class Header(_Record):
    """What the file says of itself.

    Attributes:
        source_sha256: Hash of the uncompressed model's names, dtypes, shapes and values.
        model: Description from which the model is built, or None for a user's own module.
        items: What holds the weights.
    """

    source_sha256: str
    model: dict[str, Any] | None
    items: tuple[ItemRecord, ...] = Field(fail_fast=True)


@dataclass(frozen=True)
class Contents:
    """All that a file holds.

    Attributes:
        size_bytes: Length of the file.
        header: What it says of itself.
        items: The bytes of every item, by its name.
        assets: LZMA-compressed files, by name.
        buffers: Tensors that are not floating-point, by name.
    """

    size_bytes: int
    header: Header
    items: Mapping[str, Bytes]
    assets: Mapping[str, Bytes]
    buffers: Mapping[str, NDArray[Any]]


def write_container(
    path: Path,
    header: Header,
    items: Mapping[str, bytes],
    assets: Mapping[str, bytes],
    buffers: Mapping[str, NDArray[Any]],
) -> None:
    """Write a file in one step: it appears whole or not at all.

    Args:
        path: The file; its folder must exist.
        header: What the file is to say of itself.
        items: The bytes of every item of the header, by its name.
        assets: Files, uncompressed, by name.
        buffers: Tensors that are not floating-point, by name.
    """
    text = header.model_dump_json().encode()
    tensors: dict[str, NDArray[Any]] = {_HEADER: _as_array(zlib.compress(text, 9))}
    tensors |= {name: _as_array(data) for name, data in items.items()}
    tensors |= {_ASSET + name: _as_array(pack_asset(data)) for name, data in assets.items()}
    tensors |= {_BUFFER + name: np.asarray(data, order="C") for name, data in buffers.items()}
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(safetensors.numpy.save(tensors, metadata={_VERSION: str(FORMAT_VERSION)}))
    partial.replace(path)


def _own(tensor: NDArray[Any]) -> NDArray[Any]:
    """Refuse types of which numpy knows only where another package has taught it them."""
    if tensor.dtype.isbuiltin != 1:
        raise TypeError(f"no part of it is ever of type {tensor.dtype}")
    return tensor


def read_container(path: Path) -> Contents:
    """Read a file and check that it is whole.

    Raises:
        ArtifactError: If the file is missing, truncated, damaged, no artifact at all, or written
            by a later version of this package.
    """
    try:
        size = path.stat().st_size
        with safetensors.safe_open(path, framework="np") as file:
            _check_metadata(path, file.metadata() or {})
            tensors = {name: _own(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except ArtifactError:
        raise
    except OSError as error:
        raise ArtifactError(f"cannot read artifact '{path}': {error.strerror or error}") from error
    except (safetensors.SafetensorError, ValueError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"'{path}' is not an artifact, or is truncated: {error}; copy it again"
        ) from error
    header = _read_header(path, tensors.pop(_HEADER, None))
    items = {name: tensor for name, tensor in tensors.items() if not name.startswith(":")}
    _check_items(path, header, items)
    return Contents(
        size, header, items, _with_prefix(tensors, _ASSET), _with_prefix(tensors, _BUFFER)
    )


def _with_prefix(tensors: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _as_array(data: bytes) -> Bytes:
    return np.frombuffer(data, dtype=np.uint8)


def _check_metadata(file: Path, metadata: Mapping[str, str]) -> None:
    version = metadata.get(_VERSION)
    if version is None:
        raise ArtifactError(f"'{file}' is a safetensors file, but not an autocompress artifact")
    if version not in [str(known) for known in range(1, FORMAT_VERSION + 1)]:
        raise ArtifactError(
            f"'{file}' has format version '{version}', but this package reads versions 1 to "
            f"{FORMAT_VERSION}; upgrade autocompress"
        )


def _read_header(file: Path, tensor: NDArray[Any] | None) -> Header:
    if tensor is None or tensor.dtype != np.uint8:
        raise ArtifactError(f"'{file}' is damaged: its header is missing")
    try:
        inflate = zlib.decompressobj()
        text = inflate.decompress(tensor.tobytes(), _MAX_HEADER_BYTES)
        if not inflate.eof:
            raise ValueError(f"incomplete, or longer than {_MAX_HEADER_BYTES} bytes")
        return Header.model_validate_json(text)
    except ValidationError as error:
        finding = describe_validation_error(error)
        raise ArtifactError(f"'{file}' is damaged: its header is invalid: {finding}") from error
    except (zlib.error, ValueError) as error:
        raise ArtifactError(f"'{file}' is damaged: its header cannot be read: {error}") from error


def _check_items(file: Path, header: Header, items: Mapping[str, Bytes]) -> None:
    """Compare what the header promises with what the file holds, before anything is allocated."""
    elements = 0
    for item in header.items:
        tensor = items.get(item.name)
        streams = [stream for factor in item.factors.values() for stream in factor]
        if tensor is None or tensor.dtype != np.uint8:
            raise ArtifactError(f"'{file}' is damaged: item '{item.name}' is missing")
        if sum(stream.length for stream in streams) != tensor.nbytes:
            raise ArtifactError(
                f"'{file}' is damaged: item '{item.name}' has {tensor.nbytes} bytes, but its "
                f"streams add up to {sum(stream.length for stream in streams)}"
            )
        elements += sum(int(np.prod(member.shape, dtype=object)) for member in item.members)
        elements += sum(stream.shape[0] * stream.shape[1] for stream in streams)
    n_bytes = sum(tensor.nbytes for tensor in items.values())
    limit = _MAX_ELEMENTS + _MAX_ELEMENTS_PER_BYTE * n_bytes
    if elements > limit:
        raise ArtifactError(
            f"'{file}' is damaged: {n_bytes} bytes claim to hold {elements} elements; at most "
            f"{limit} are read"
        )


def decode_stream(record: StreamRecord, data: bytes) -> Stream:
    """Undo `encode_stream`.

    Raises:
        ArtifactError: If the bytes are damaged or the coder is unknown.
        ValueError: If the bytes do not match the shape.
    """
    if record.coder in _FLOATS:
        values = np.frombuffer(data, dtype=_FLOATS[record.coder])
        return values.reshape(record.shape).astype(_FLOATS[record.coder].newbyteorder("="))
    return coders.decode(record.coder, data, record.shape)


def encode_stream(name: str, stream: Stream) -> tuple[StreamRecord, bytes]:
    """Turn a stream into bytes: floats as they are, integers by whichever coder is shortest."""
    rows, cols = stream.shape
    if stream.dtype.kind == "f":
        code = f"f{stream.dtype.itemsize}"
        data = stream.astype(_FLOATS[code]).tobytes()
    else:
        code, data = coders.encode_smallest(stream)
    return StreamRecord(name=name, coder=code, shape=(rows, cols), length=len(data)), data


def pack_asset(data: bytes) -> bytes:
    """Compress a file by raw LZMA, whose settings are fixed by the format version."""
    # Tables for the 64 MiB of past that the preset looks back at take longer to clear than most
    # files to compress. No file reaches back beyond its beginning.
    past = min(max(len(data), _SMALLEST_PAST), _LARGEST_PAST)
    filters = [{**settings, "dict_size": past} for settings in _LZMA_FILTERS]
    return lzma.compress(data, lzma.FORMAT_RAW, filters=filters)


def unpack_assets(assets: Mapping[str, Bytes]) -> dict[str, bytes]:
    """Undo `pack_asset` for all files of an artifact.

    Raises:
        ArtifactError: If one is damaged, or all together would become more than 2^30 bytes.
    """
    files: dict[str, bytes] = {}
    left = _MAX_ASSET_BYTES
    for name, data in assets.items():
        inflate = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_LZMA_FILTERS)
        try:
            files[name] = inflate.decompress(data.tobytes(), left)
        except lzma.LZMAError as error:
            raise ArtifactError(
                f"asset '{name}' is damaged: {error}; copy the file again"
            ) from error
        if not inflate.eof:
            raise ArtifactError(
                f"asset '{name}' is damaged: incomplete, or beyond {_MAX_ASSET_BYTES} bytes"
            )
        left -= len(files[name])
    return files
