"""Packed bits: every integer in the same number of bits, without gaps."""

from __future__ import annotations

import struct
from typing import ClassVar

import numpy as np

from autocompress.coders.base import CODERS, Coder, Codes
from autocompress.errors import ArtifactError

_HEADER = struct.Struct("<qB")


@CODERS.register("packed")
class PackedCoder(Coder):
    """Stores `code - smallest` in as many bits as the largest needs, least significant first."""

    name: ClassVar[str] = "packed"
    since: ClassVar[str] = "0.1.0"

    def encode(self, codes: Codes) -> bytes:
        """Return nine bytes of header, then the bits, padded to a whole byte."""
        smallest = int(codes.min())
        offsets = (codes - smallest).astype(np.uint64).ravel()
        bits = int(offsets.max()).bit_length()
        planes = np.empty((offsets.size, bits), dtype=np.uint8)
        for bit in range(bits):
            planes[:, bit] = (offsets >> np.uint64(bit)) & np.uint64(1)
        return _HEADER.pack(smallest, bits) + np.packbits(planes, bitorder="little").tobytes()

    def decode(self, data: bytes, shape: tuple[int, int]) -> Codes:
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
        planes = np.unpackbits(packed, count=size * bits, bitorder="little").reshape(size, bits)
        codes = np.full(size, smallest, dtype=np.int64)
        for bit in range(bits):
            codes += planes[:, bit].astype(np.int64) << bit
        return codes.reshape(shape)
