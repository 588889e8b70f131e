"""Files in the layout of safetensors, taken apart and put together again, true or not."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from fuzzing.documents import changed_text, written

LENGTH_BYTES = 8
METADATA = "__metadata__"
_SEALED = b'{"__metadata__":{"autocompress":"2 '
_NO_SEAL = b"00000000"


@dataclass(frozen=True)
class Tensor:
    """A tensor as it lies in a file.

    Attributes:
        dtype: What the table calls its type.
        shape: Its sizes.
        data: Its bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True)
class Container:
    """A file, taken apart."""

    metadata: Mapping[str, str]
    tensors: Mapping[str, Tensor]

    @classmethod
    def of(cls, data: bytes) -> Container:
        """Take a file apart that is as it should be."""
        start = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")
        table = json.loads(data[LENGTH_BYTES:start])
        metadata = table.pop(METADATA, {})
        tensors = {}
        for name, entry in table.items():
            first, last = (start + offset for offset in entry["data_offsets"])
            tensors[name] = Tensor(entry["dtype"], tuple(entry["shape"]), data[first:last])
        return cls(metadata, tensors)

    def with_bytes(self, name: str, data: bytes) -> Container:
        """Return the file with other bytes of a tensor, whose shape becomes their number."""
        tensor = replace(self.tensors[name], shape=(len(data),), data=data)
        return replace(self, tensors={**self.tensors, name: tensor})

    def laid_out(self) -> tuple[dict[str, Any], bytes]:
        """Return the table of contents, and all bytes behind it."""
        table: dict[str, Any] = {METADATA: dict(self.metadata)}
        first = 0
        for name, tensor in self.tensors.items():
            last = first + len(tensor.data)
            offsets = [first, last]
            table[name] = {
                "dtype": tensor.dtype,
                "shape": [*tensor.shape],
                "data_offsets": offsets,
            }
            first = last
        return table, b"".join(tensor.data for tensor in self.tensors.values())

    def written(self) -> bytes:
        """Put the file together."""
        table, body = self.laid_out()
        return together(written(table), body)

    def with_another_table(self, random: Random) -> bytes:
        """Put the file together with a table of contents that is not true."""
        table, body = self.laid_out()
        return together(changed_text(random, table), body)


def together(table: bytes, body: bytes) -> bytes:
    """Put length, table of contents and all others together."""
    table += b" " * (-len(table) % LENGTH_BYTES)
    return len(table).to_bytes(LENGTH_BYTES, "little") + table + body


def sealed(data: bytes) -> bytes:
    """Make the checksum of an artifact anew, where it has one in its place."""
    first = LENGTH_BYTES + len(_SEALED)
    last = first + len(_NO_SEAL)
    if data[LENGTH_BYTES:first] != _SEALED or len(data) < last:
        return data
    checksum = zlib.crc32(data[:first] + _NO_SEAL + data[last:])
    return data[:first] + f"{checksum:08x}".encode() + data[last:]
