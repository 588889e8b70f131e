"""Assets: the files that an artifact carries, such as a vocabulary, compressed by raw LZMA."""

from __future__ import annotations

import lzma
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from autocompress.errors import ArtifactError

MAX_ASSET_BYTES = 2**30
_LZMA_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "pb": 0}]
_SMALLEST_PAST, _LARGEST_PAST = 2**20, 2**26


def pack_asset(data: bytes) -> bytes:
    """Compress a file by raw LZMA, whose settings are fixed by the format version."""
    # Tables for the 64 MiB of past that the preset looks back at take longer to clear than most
    # files to compress. No file reaches back beyond its beginning.
    past = min(max(len(data), _SMALLEST_PAST), _LARGEST_PAST)
    filters = [{**settings, "dict_size": past} for settings in _LZMA_FILTERS]
    return lzma.compress(data, lzma.FORMAT_RAW, filters=filters)


def unpack_assets(assets: Mapping[str, NDArray[np.uint8]]) -> dict[str, bytes]:
    """Undo `pack_asset` for all files of an artifact.

    Raises:
        ArtifactError: If one is damaged, or all together would become more than 2^30 bytes.
    """
    files: dict[str, bytes] = {}
    left = MAX_ASSET_BYTES
    for name, data in assets.items():
        files[name] = unpack_asset(f"asset '{name}'", data, left)
        left -= len(files[name])
    return files


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
