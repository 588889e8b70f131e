"""The header of an artifact: zlib-compressed JSON, of either format version."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import ValidationError

from autocompress.artifact.needs import lacking, lacking_in, needs_of
from autocompress.artifact.records import Header, Header1
from autocompress.errors import ArtifactError
from autocompress.plan import describe_validation_error
from autocompress.support.signals import interrupts_held

_MAX_HEADER_BYTES = 2**22


def pack_header(header: Header, asset_kinds: Iterable[str] = ()) -> bytes:
    """Return a header as bytes, with what its items and the files beside them need."""
    complete = header.model_copy(update={"needs": needs_of(header.items, asset_kinds)})
    return zlib.compress(complete.model_dump_json().encode(), 9)


def read_header(
    file: Path, version: int, packed: bytes, items: Mapping[str, NDArray[Any]]
) -> Header:
    """Undo `pack_header`.

    Args:
        file: What errors call the file.
        version: Format version of the file.
        packed: The compressed header.
        items: The bytes of the items by name, of which version 1 has a checksum each.

    Raises:
        ArtifactError: If it is damaged, or needs a kind that is not there.
    """
    text = _inflated(file, packed)
    try:
        with interrupts_held():
            header = (
                Header.model_validate_json(text) if version > 1 else _version1(file, text, items)
            )
    except ValidationError as error:
        missing = lacking_in(text)
        if missing:
            raise ArtifactError(f"'{file}' {missing}") from None
        finding = " ".join(describe_validation_error(error).split())
        raise ArtifactError(f"'{file}' is damaged: its header is invalid: {finding}") from error
    missing = lacking(header.needs)
    if missing:
        raise ArtifactError(f"'{file}' {missing}")
    return header


def _inflated(file: Path, packed: bytes) -> bytes:
    try:
        inflate = zlib.decompressobj()
        text = inflate.decompress(packed, _MAX_HEADER_BYTES)
        if not inflate.eof:
            raise ValueError(f"incomplete, or longer than {_MAX_HEADER_BYTES} bytes")
    except (zlib.error, ValueError) as error:
        raise ArtifactError(f"'{file}' is damaged: its header cannot be read: {error}") from error
    return text


def _version1(file: Path, text: bytes, items: Mapping[str, NDArray[Any]]) -> Header:
    """Read a header of version 1 and compare its checksums, one for each item."""
    header = Header1.model_validate_json(text)
    for item in header.items:
        if item.name in items and zlib.crc32(items[item.name].data) != item.crc32:
            raise ArtifactError(
                f"'{file}' is damaged: the checksum of item {item.name!r} does not match; "
                "copy it again"
            )
    return Header(
        source_sha256=header.source_sha256,
        model=header.model,
        items=tuple(item.without_checksum() for item in header.items),
    )
