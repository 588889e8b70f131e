"""Format versions, and the checksum that a file has since version 2.

The metadata of a file are one text: `1`, or `2 ` and eight hexadecimal digits. These are the
CRC-32 of the whole file, computed with zeros in their place, and compared as text: so no single
bit of a file can change without being noticed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from autocompress.artifact.tensors import LENGTH_BYTES
from autocompress.errors import ArtifactError

FORMAT_VERSION = 2
_KEY = "autocompress"
_BLANK = b"00000000"
# With this a file of version 2 begins, after the length of its table of contents.
_START = f'{{"__metadata__":{{"{_KEY}":"{FORMAT_VERSION} '.encode()
_FIRST = LENGTH_BYTES + len(_START)
_LAST = _FIRST + len(_BLANK)


def unsealed_metadata() -> dict[str, str]:
    """Return the metadata of a new file, zeros where `seal` puts the checksum."""
    return {_KEY: f"{FORMAT_VERSION} {_BLANK.decode()}"}


def seal(head: bytes, others: Iterable[memoryview]) -> bytes:
    """Return the first piece of a file with the checksum of all pieces in it."""
    checksum = zlib.crc32(head)
    for piece in others:
        checksum = zlib.crc32(piece, checksum)
    return head[:_FIRST] + _digits(checksum) + head[_LAST:]


def check_seal(file: Path, data: bytes) -> None:
    """Compare the checksum of a file of version 2; others have none.

    Raises:
        ArtifactError: If anything in the file is not as it was written.
    """
    if data[LENGTH_BYTES:_FIRST] != _START:
        return
    view = memoryview(data)
    checksum = zlib.crc32(view[_LAST:], zlib.crc32(_BLANK, zlib.crc32(view[:_FIRST])))
    if data[_FIRST:_LAST] != _digits(checksum):
        raise ArtifactError(
            f"'{file}' is damaged or truncated: its checksum does not match; copy it again"
        )


def version_of(file: Path, data: bytes, metadata: Mapping[str, str]) -> int:
    """Return the format version of a file whose checksum was compared, where it has one.

    Raises:
        ArtifactError: If it is no artifact, or of a version that this package does not know.
    """
    text = metadata.get(_KEY)
    if text is None:
        raise ArtifactError(f"'{file}' is a safetensors file, but not an autocompress artifact")
    if text == "1":
        return 1
    if data[LENGTH_BYTES:_FIRST] == _START and len(text) == _LAST - _FIRST + 2:
        return FORMAT_VERSION
    if text.split(" ")[0] == str(FORMAT_VERSION):
        raise ArtifactError(
            f"'{file}' is damaged: its checksum is not in its place; copy it again"
        )
    raise ArtifactError(
        f"'{file}' has format version {text!r}, but this package reads versions 1 to "
        f"{FORMAT_VERSION}; upgrade autocompress"
    )


def _digits(checksum: int) -> bytes:
    return f"{checksum:08x}".encode()
