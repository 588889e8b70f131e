"""Weights that lie in a file: what was mapped into memory need not be copied to be put back."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_AT_ONCE = 2**24
_MARK = "_autocompress_place"


class _Place:
    """Where the bytes of a tensor lie in a file, which stays readable under whatever name."""

    def __init__(self, descriptor: _Descriptor, first: int) -> None:
        self._descriptor, self._first = descriptor, first

    def blocks(self, size: int) -> Iterator[tuple[slice, bytes]]:
        """Read so many bytes block by block, into memory of their own."""
        for start in range(0, size, _AT_ONCE):
            part = slice(start, min(start + _AT_ONCE, size))
            data = self._descriptor.read(self._first + start, part.stop - start)
            yield part, data


class _Descriptor:
    """A file, open as long as any of its tensors is in use."""

    def __init__(self, number: int) -> None:
        self._number = number
        weakref.finalize(self, os.close, number)

    def read(self, first: int, size: int) -> bytes:
        """Read bytes; fewer where the file ends before."""
        if hasattr(os, "pread"):  # which forked processes may use at once
            return os.pread(self._number, size, first)
        os.lseek(self._number, first, os.SEEK_SET)
        return os.read(self._number, size)


def mark(tensors: Mapping[str, Tensor], path: Path, places: Mapping[str, int]) -> None:
    """Note down that tensors hold what lies in a file.

    Args:
        tensors: By name, each with a storage of its own.
        path: The file.
        places: By name, where in the file the bytes of a tensor begin.
    """
    descriptor = _Descriptor(os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0)))
    for name, tensor in tensors.items():
        setattr(tensor.untyped_storage(), _MARK, _Place(descriptor, places[name]))


def converted_aside(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a tensor in another dtype that lies in a nameless file, made block by block.

    Raises:
        OSError: If the disk is full.
    """
    flat, n_numbers = tensor.detach().reshape(-1), _AT_ONCE // dtype.itemsize
    with tempfile.TemporaryFile() as file:
        for part in torch.split(flat, n_numbers):
            file.write(part.to(dtype).view(torch.uint8).numpy().data)
        file.flush()
        values = np.memmap(file, np.uint8, "c")
        result = torch.from_numpy(values).view(dtype).reshape(tensor.shape)
        place = _Place(_Descriptor(os.dup(file.fileno())), 0)
    setattr(result.untyped_storage(), _MARK, place)
    return result


def is_mapped(tensor: Tensor) -> bool:
    """Whether it is known in which file a tensor lies."""
    return _place_of(tensor) is not None


def is_as_in_file(tensor: Tensor) -> bool:
    """Whether it is known in which file a tensor lies, and it holds what is there, bit for bit."""
    place = _place_of(tensor)
    return place is not None and not any(True for _ in _changes(tensor, place))


def put_back(tensor: Tensor) -> None:
    """Have a tensor hold again what lies in its file; nothing is written where it does."""
    place = _place_of(tensor)
    for part, data in () if place is None else _changes(tensor, place):
        _bytes_of(tensor)[part] = torch.frombuffer(bytearray(data), dtype=torch.uint8)


def _place_of(tensor: Tensor) -> _Place | None:
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        return None
    storage = tensor.untyped_storage()
    place: _Place | None = getattr(storage, _MARK, None)
    return place if tensor.is_contiguous() and storage.nbytes() == tensor.nbytes else None


def _changes(tensor: Tensor, place: _Place) -> Iterator[tuple[slice, bytes]]:
    """Yield the parts of a tensor's bytes that are others than those of its file."""
    values = _bytes_of(tensor)
    for part, data in place.blocks(len(values)):
        if not np.array_equal(values[part].numpy(), np.frombuffer(data, np.uint8)):
            yield part, data


def _bytes_of(tensor: Tensor) -> Tensor:
    return tensor.detach().reshape(-1).view(torch.uint8)
