"""A plan: how every weight of a model is to be stored. A value that round-trips through JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from autocompress.errors import PlanError
from autocompress.precisions import PRECISIONS, Precision, Runtime
from autocompress.registry import ByKind
from autocompress.structures import STRUCTURES, Structure
from autocompress.support.signals import interrupts_held

__all__ = ["CompressionPlan", "Runtime", "Treatment", "describe_validation_error"]

_FINDINGS_SHOWN, _MOST_FINDINGS = 3, 1000


def describe_validation_error(error: ValidationError) -> str:
    """Put pydantic's first findings on one line, each with the path of the wrong key."""
    count = error.error_count()
    if count > _MOST_FINDINGS:  # a small hostile file has millions, and all are made to get one
        return f"{count} findings, which are too many to be shown"
    findings = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [
        f"{'.'.join(str(part) for part in finding['loc']) or 'document'}: {finding['msg']}"
        for finding in findings[:_FINDINGS_SHOWN]
    ]
    more = count - _FINDINGS_SHOWN
    return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")


class Treatment(BaseModel):
    """What one weight, or all weights of a site together, are stored as, and how they run.

    Attributes:
        structure: What the weight is represented by; any that is registered.
        precision: How the numbers of each factor are stored; any that is registered.
        runtime: In what numbers they are multiplied in an exported model; in torch always in
            single precision. It does not change what is stored.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    structure: Annotated[Structure, ByKind(STRUCTURES)]
    precision: Annotated[Precision, ByKind(PRECISIONS)]
    runtime: Runtime = "float32"

    def label(self) -> str:
        """Name the treatment on a few characters, as in "low_rank 64 + uniform 4 bit"."""
        return f"{self.structure.label()} + {self.precision.label()}{self._runs}"

    def in_words(self, bits: float) -> str:
        """Say what the treatment is to a reader, as in "rank 64 + 4.0 bits, weighted by error".

        Args:
            bits: What an element of the weight takes in a file.
        """
        return f"{self.structure.in_words()} + {self.precision.in_words(bits)}{self._runs}"

    @property
    def _runs(self) -> str:
        return "" if self.runtime == "float32" else f", runs in {self.runtime}"

    @property
    def stored(self) -> Treatment:
        """The treatment but for how it runs: what decides on the bytes."""
        return self.model_copy(update={"runtime": "float32"})

    @model_serializer(mode="wrap")
    def _terse(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave the usual runtime out: files that do not speak of it stay as they were."""
        document: dict[str, Any] = serialize(self)
        if self.runtime == "float32":
            del document["runtime"]
        return document


class CompressionPlan(BaseModel):
    """The treatment of every weight, by weight name or by site name.

    A site stands for all of its weights; a weight is treated either alone or by its site. Tied
    weights are named once, by the first of their names.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    treatments: dict[str, Treatment]

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> CompressionPlan:
        """Read a plan from a JSON object.

        Raises:
            PlanError: If a key is unknown, missing or has a value out of its range.
        """
        try:
            with interrupts_held():
                return cls.model_validate(document)
        except ValidationError as error:
            raise PlanError(f"not a plan: {describe_validation_error(error)}") from error

    def to_json(self) -> dict[str, Any]:
        """Return the plan as a JSON object."""
        return self.model_dump(mode="json")

    def dumps(self) -> str:
        """Return the plan as canonical JSON text: equal plans have equal texts."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
