"""Records: what an artifact's header says of the bytes beside it."""

from __future__ import annotations

from itertools import accumulate
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from autocompress.plan import Treatment
from autocompress.structures import stacked_shape

Size = Annotated[int, Field(ge=0, lt=2**40)]
Dimension = Annotated[int, Field(ge=1, lt=2**40)]
_Name = Annotated[str, Field(pattern=r"^\P{C}{1,200}$")]
# Dictionaries do not fail fast, but how long they are is looked at first.
_FewKeys = Field(max_length=2**16)
_Kinds = Annotated[tuple[_Name, ...], Field(fail_fast=True)]
Needs = Annotated[dict[_Name, Annotated[dict[_Name, _Kinds], _FewKeys]], _FewKeys]
"""By package and version, as "autocompress 0.1.0", and by what it is, as "coder": kinds."""


class _Record(BaseModel):
    # Sequences fail fast: a small hostile header could have millions of findings.

    model_config = ConfigDict(frozen=True, extra="forbid")


class StreamRecord(_Record):
    """Where a stream lies in its item and how it was written.

    Attributes:
        name: Its name within the factor.
        coder: Name of a coder of integers, or "f2" or "f4" for floats.
        shape: Rows and columns of the decoded array.
        length: Bytes.
    """

    name: str
    coder: str
    shape: tuple[Dimension, Dimension]
    length: Size


class MemberRecord(_Record):
    """A weight of an item; the rows of its members are stacked in this order."""

    name: str
    aliases: tuple[str, ...] = Field((), fail_fast=True)
    shape: tuple[Dimension, ...] = Field(max_length=64, fail_fast=True)


class _Item(_Record):
    name: str
    members: tuple[MemberRecord, ...] = Field(min_length=1, fail_fast=True)
    treatment: Treatment
    factors: Annotated[
        dict[str, Annotated[tuple[StreamRecord, ...], Field(fail_fast=True)]], _FewKeys
    ]

    @property
    def streams(self) -> list[StreamRecord]:
        """All streams of all factors, in the order in which they lie in the item."""
        return [stream for factor in self.factors.values() for stream in factor]


class ItemRecord(_Item):
    """A weight, or the weights of a site, stored by one treatment.

    Attributes:
        zero_rows: Which rows are zero, whatever the factors make of them: how many are not, how
            many then are, and so on, from the first row.
    """

    zero_rows: tuple[Size, ...] = Field((), fail_fast=True)

    @property
    def is_zero(self) -> NDArray[np.bool_]:
        """Which rows are zero by what the record says, bool of shape (rows,).

        Raises:
            ValueError: If the record speaks of more rows than there are.
        """
        zero = np.zeros(stacked_shape([member.shape for member in self.members])[0], np.bool_)
        ends = list(accumulate(self.zero_rows))
        if ends and ends[-1] > zero.size:
            raise ValueError(f"{ends[-1]} rows are zero or not, of {zero.size}")
        for first, last in zip(ends[::2], ends[1::2], strict=False):
            zero[first:last] = True
        return zero

    @model_serializer(mode="wrap")
    def _terse(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave zero rows out where there are none: such files stay as they were."""
        document: dict[str, Any] = serialize(self)
        if not self.zero_rows:
            del document["zero_rows"]
        return document


class Header(_Record):
    """What the file says of itself.

    Attributes:
        source_sha256: Hash of the uncompressed model's names, dtypes, shapes and values.
        model: Description from which the model is built, or None for a user's own module.
        items: What holds the weights.
        needs: Which structures, precisions and coders a reader must have, and who has them.
    """

    source_sha256: str
    model: dict[str, Any] | None
    items: tuple[ItemRecord, ...] = Field(fail_fast=True)
    needs: Needs = Field(default_factory=dict)


class Needy(BaseModel):
    """Of a header that may be beyond this package, what it needs."""

    needs: Needs


class ItemRecord1(_Item):
    """An item of format version 1, which has a checksum of its own."""

    crc32: Size

    def without_checksum(self) -> ItemRecord:
        """Return the item as it is since format version 2."""
        return ItemRecord(**{name: getattr(self, name) for name in _Item.model_fields})


class Header1(_Record):
    """The header of format version 1, which does not say what it needs."""

    source_sha256: str
    model: dict[str, Any] | None
    items: tuple[ItemRecord1, ...] = Field(fail_fast=True)
