"""Streams: a matrix of integers or floats as bytes."""

from __future__ import annotations

import numpy as np

from autocompress import coders
from autocompress.artifact.records import StreamRecord
from autocompress.precisions import Stream

_FLOATS: dict[str, np.dtype[np.floating]] = {"f2": np.dtype("<f2"), "f4": np.dtype("<f4")}


def encode_stream(name: str, stream: Stream) -> tuple[StreamRecord, bytes | memoryview]:
    """Turn a stream into bytes: floats as they are, integers by whichever coder is shortest.

    Floats that are contiguous are looked at where they lie.
    """
    rows, cols = stream.shape
    if stream.dtype.kind == "f":
        code = f"f{stream.dtype.itemsize}"
        flat = np.ascontiguousarray(stream, _FLOATS[code]).ravel()
        data: bytes | memoryview = flat.view(np.uint8).data
    else:
        code, data = coders.encode_smallest(stream)
    return StreamRecord(name=name, coder=code, shape=(rows, cols), length=len(data)), data


def decode_stream(record: StreamRecord, data: bytes | memoryview) -> Stream:
    """Undo `encode_stream`. Floats are looked at where they lie, and not to be written to.

    Raises:
        ArtifactError: If the bytes are damaged or the coder is unknown.
        ValueError: If the bytes do not match the shape.
    """
    if record.coder in _FLOATS:
        values = np.frombuffer(data, dtype=_FLOATS[record.coder])
        native = _FLOATS[record.coder].newbyteorder("=")
        return values.reshape(record.shape).astype(native, copy=False)
    return coders.decode(record.coder, data, record.shape)


def is_raw(record: StreamRecord) -> bool:
    """Whether a stream holds floats, for which no coder is needed."""
    return record.coder in _FLOATS
