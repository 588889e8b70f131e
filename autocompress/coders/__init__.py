"""Coders: how integers become bytes. A new one is a file, imported below. numpy only."""

from typing import Any

import numpy as np

from autocompress.coders.base import CODERS, Coder, Codes
from autocompress.errors import ArtifactError
from autocompress.support.memory import give_back_beside

# isort: off
# They are registered in this order, in which the earlier of two equally short encodings is taken.
from autocompress.coders.packed import PackedCoder
from autocompress.coders.entropy import EntropyCoder
from autocompress.coders.contexts import ContextCoder
from autocompress.coders.trellis import TrellisCoder
# isort: on


def encode_smallest(codes: Codes) -> tuple[str, bytes]:
    """Encode integers with the coder that needs the fewest bytes; return its name and the bytes.

    Of equally short encodings the one by the earlier coder of `CODERS` is taken.
    """
    known = {name: coder().length(codes) for name, coder in CODERS.items()}
    best: tuple[int, int, str, bytes] | None = None
    # Those whose length is known come last, and encode only what is the shortest.
    for place, name in sorted(enumerate(CODERS), key=lambda one: known[one[1]] is not None):
        length = known[name]
        if best is not None and length is not None and best[:2] <= (length, place):
            continue
        coder = CODERS[name]()
        # What one coder has freed comes not on top of what the next one takes.
        give_back_beside(codes.size)
        data = coder.encode(codes if coder.frugal else codes.astype(np.int64))
        if data is not None and (best is None or (len(data), place) < best[:2]):
            best = len(data), place, name, data
    if best is None:
        raise ValueError("no coder applies to the integers")
    return best[2:]


def decode(name: str, data: bytes | memoryview, shape: tuple[int, int]) -> Codes:
    """Decode integers of this shape by the coder of this name.

    Raises:
        ArtifactError: If the coder is unknown or the bytes are damaged.
    """
    if name not in CODERS:
        raise ArtifactError(f"unknown coder '{name}'; known coders: {', '.join(CODERS)}")
    coder = CODERS[name]()
    whole: Any = data if coder.frugal else bytes(data)
    return coder.decode(whole, shape)


__all__ = [
    "CODERS",
    "Coder",
    "Codes",
    "ContextCoder",
    "EntropyCoder",
    "PackedCoder",
    "TrellisCoder",
    "decode",
    "encode_smallest",
]
