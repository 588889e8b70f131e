"""Assets: the files that an artifact carries, such as a vocabulary, compressed.

By raw LZMA, or, where that takes fewer bytes, as lines.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from autocompress.coders.lines import MAX_LINES_BYTES, pack_lines, unpack_lines
from autocompress.errors import ArtifactError

ASSET, LINES = ":asset:", ":lines:"
ASSET_KINDS: Mapping[str, str] = {"lines": "0.1.0"}
"""What not every reader has, with the first version that does, as a file's needs tell them."""
MAX_ASSET_BYTES = 2**30
_WORTH = 64  # bytes that lines are to save, beyond what the header says of them
_SHORTEST = 1024  # bytes; of shorter files there is nothing to learn
_LZMA_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "pb": 0}]
_SMALLEST_PAST, _LARGEST_PAST = 2**20, 2**26


def pack_asset(data: bytes) -> bytes:
    """Compress a file by raw LZMA, whose settings are fixed by the format version."""
    # Tables for the 64 MiB of past that the preset looks back at take longer to clear than most
    # files to compress. No file reaches back beyond its beginning.
    past = min(max(len(data), _SMALLEST_PAST), _LARGEST_PAST)
    filters = [{**settings, "dict_size": past} for settings in _LZMA_FILTERS]
    return lzma.compress(data, lzma.FORMAT_RAW, filters=filters)


def pack_assets(assets: Mapping[str, bytes]) -> dict[str, NDArray[np.uint8]]:
    """Return files as the container's tensors, each in the kind that takes fewer bytes."""
    stored: dict[str, NDArray[np.uint8]] = {}
    left = MAX_LINES_BYTES
    for name, data in assets.items():
        prefix, packed = _smallest(data, _SHORTEST <= len(data) <= left)
        left -= len(data) if prefix == LINES else 0
        stored[prefix + name] = np.frombuffer(packed, np.uint8)
    return stored


@lru_cache(maxsize=8)  # all files of a search carry the same ones
def _smallest(data: bytes, may_be_lines: bool) -> tuple[str, bytes]:
    packed = pack_asset(data)
    lines = pack_lines(data) if may_be_lines else None
    if lines is not None and len(lines) + _WORTH < len(packed):
        return LINES, lines
    return ASSET, packed


def kinds_of(places: Iterable[str]) -> set[str]:
    """Return which of `ASSET_KINDS` the tensors of these names are."""
    return {"lines" for place in places if place.startswith(LINES)}


def unpack_assets(stored: Mapping[str, NDArray[np.uint8]]) -> dict[str, bytes]:
    """Undo `pack_assets`: the files by name.

    Raises:
        ArtifactError: If one is damaged or there twice, or all together would become more than
            2^30 bytes, or those of lines more than 2^20.
    """
    files: dict[str, bytes] = {}
    left, left_lines = MAX_ASSET_BYTES, MAX_LINES_BYTES
    for place, data in stored.items():
        name = place.removeprefix(LINES if place.startswith(LINES) else ASSET)
        if name in files:
            raise ArtifactError(f"asset '{name}' is there twice; copy the file again")
        if place.startswith(LINES):
            files[name] = _lines(name, data.tobytes(), min(left, left_lines))
            left_lines -= len(files[name])
        else:
            files[name] = unpack_asset(f"asset '{name}'", data, left)
        left -= len(files[name])
    return files


@lru_cache(maxsize=8)  # one file is opened many times, and its words are always the same
def _lines(name: str, data: bytes, limit: int) -> bytes:
    try:
        return unpack_lines(data, limit)
    except ArtifactError as error:
        raise ArtifactError(f"asset '{name}' is damaged: {error}; copy the file again") from error


def unpack_asset(what: str, data: NDArray[np.uint8], limit: int) -> bytes:
    """Undo `pack_asset`.

    Args:
        what: What errors call it.
        data: The compressed bytes.
        limit: How many bytes it may become.

    Raises:
        ArtifactError: If it is damaged, or would become more.
    """
    inflate = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_LZMA_FILTERS)
    try:
        found = inflate.decompress(data.tobytes(), limit)
        if not inflate.eof and len(found) == limit:  # the end may lie behind the last byte
            found += inflate.decompress(b"", 1)
    except (lzma.LZMAError, EOFError) as error:
        raise ArtifactError(f"{what} is damaged: {error}; copy the file again") from error
    if not inflate.eof or len(found) > limit:
        raise ArtifactError(f"{what} is damaged: incomplete, or beyond {MAX_ASSET_BYTES} bytes")
    return found
