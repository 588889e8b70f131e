"""Bytes put aside on the disk until the file is written that they are for."""

from __future__ import annotations

import mmap
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_FEW = 2**24


class Aside:
    """Keeps large pieces of bytes in a nameless file, to be looked at as if in memory."""

    def __init__(self, folder: Path) -> None:
        """Choose the folder of the file, which is made when it is needed."""
        self._folder, self._end = folder, 0
        self._file: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file; what is still looked at stays until then."""
        if self._file is not None:
            self._file.close()

    def kept(self, data: bytes | memoryview) -> bytes | memoryview:
        """Return the same bytes; many of them are on the disk then.

        Views are returned themselves, for what they look at is in memory anyway.

        Raises:
            OSError: If the disk is full.
        """
        if not isinstance(data, bytes) or len(data) < _FEW:
            return data
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed above
        first = -(-self._end // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        self._file.seek(first)
        self._file.write(data)
        self._file.flush()
        self._end = first + len(data)
        mapped = mmap.mmap(self._file.fileno(), len(data), access=mmap.ACCESS_READ, offset=first)
        return memoryview(mapped)
