"""How each weight of an artifact is stored, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from autocompress.artifact.records import ItemRecord
from autocompress.artifact.streams import is_raw
from autocompress.structures import matrix_shape


@dataclass(frozen=True)
class WeightReport:
    """How one weight is stored.

    Attributes:
        name: State-dict name of the weight.
        aliases: Names tied to it.
        shape: Shape of the tensor.
        site: Name of the site with whose other weights it shares factors, or None.
        structure: Of the treatment, in words.
        precision: Of the treatment, in words.
        coder: Names of the coders that wrote its integers, or "raw".
        size_bytes: Bytes in the file. Of factors that are shared over a site, each member
            carries the share of its rows.
        bits_per_weight: Eight times the bytes over the number of elements.
    """

    name: str
    aliases: tuple[str, ...]
    shape: tuple[int, ...]
    site: str | None
    structure: str
    precision: str
    coder: str
    size_bytes: float
    bits_per_weight: float

    @property
    def method(self) -> str:
        """The treatment in words."""
        return f"{self.structure} + {self.precision}"

    @property
    def n_weights(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def report_item(item: ItemRecord) -> Iterator[WeightReport]:
    """Yield a line for every weight of an item."""
    total = sum(stream.length for stream in item.streams)
    coders_used = sorted({stream.coder for stream in item.streams if not is_raw(stream)})
    all_rows = sum(matrix_shape(member.shape)[0] for member in item.members)
    for member in item.members:
        size = total * matrix_shape(member.shape)[0] / all_rows
        bits = 8 * size / int(np.prod(member.shape))
        yield WeightReport(
            name=member.name,
            aliases=member.aliases,
            shape=member.shape,
            site=item.name if len(item.members) > 1 else None,
            structure=item.treatment.structure.in_words(),
            precision=item.treatment.precision.in_words(bits),
            coder="+".join(coders_used) or "raw",
            size_bytes=size,
            bits_per_weight=bits,
        )
