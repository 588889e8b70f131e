"""Packed bits: every integer in the same number of bits, without gaps."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import ClassVar

import numpy as np

from autocompress.coders.base import CODERS, Coder, Codes
from autocompress.errors import ArtifactError
from autocompress.support.integers import chunks, type_of

_HEADER = struct.Struct("<qB")


@CODERS.register("packed")
class PackedCoder(Coder):
    """Stores `code - smallest` in as many bits as the largest needs, least significant first."""

    name: ClassVar[str] = "packed"
    since: ClassVar[str] = "0.1.0"
    frugal: ClassVar[bool] = True

    def length(self, codes: Codes) -> int:
        """Return the bytes of header and bits."""
        bits = (int(codes.max()) - int(codes.min())).bit_length()
        return _HEADER.size + -(-codes.size * bits // 8)

    def encode(self, codes: Codes) -> bytes:
        """Return nine bytes of header, then the bits, padded to a whole byte."""
        smallest, largest = int(codes.min()), int(codes.max())
        bits = (largest - smallest).bit_length()
        flat, written = codes.ravel(), BytesIO()  # which gives its bytes away without a copy
        written.write(_HEADER.pack(smallest, bits))
        for part in chunks(flat.size):  # of whole bytes
            offsets = (flat[part].astype(np.int64) - smallest).astype(np.uint64)
            planes = np.empty((offsets.size, bits), dtype=np.uint8)
            for bit in range(bits):
                planes[:, bit] = (offsets >> np.uint64(bit)) & np.uint64(1)
            written.write(np.packbits(planes, bitorder="little").data)
        return written.getvalue()

    def decode(self, data: bytes | memoryview, shape: tuple[int, int]) -> Codes:
        """Undo `encode`."""
        if len(data) < _HEADER.size:
            raise ArtifactError(f"packed bits need {_HEADER.size} bytes, but got {len(data)}")
        smallest, bits = _HEADER.unpack_from(data)
        size = shape[0] * shape[1]
        n_bytes = -(-size * bits // 8)
        if bits > 64 or len(data) != _HEADER.size + n_bytes:
            raise ArtifactError(
                f"{size} integers of {bits} bits need {n_bytes} bytes, "
                f"but got {len(data) - _HEADER.size}"
            )
        packed = np.frombuffer(data, dtype=np.uint8, offset=_HEADER.size)
        codes = np.empty(size, dtype=type_of(smallest, smallest + (1 << bits) - 1))
        for part in chunks(size):
            count = len(codes[part])
            some = packed[part.start * bits // 8 :]
            planes = np.unpackbits(some, count=count * bits, bitorder="little")
            numbers = np.full(count, smallest, dtype=np.int64)
            for bit in range(bits):
                numbers += planes[bit::bits].astype(np.int64) << bit
            codes[part] = numbers
        return codes.reshape(shape)
