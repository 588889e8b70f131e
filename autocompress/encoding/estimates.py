"""What a treatment will cost, estimated on a part of the rows, before all of them are encoded."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

from autocompress.artifact.decoding import decode_blocks
from autocompress.encoding.encoder import Encoder, encode_factors
from autocompress.encoding.parts import Ends, Factors, Part
from autocompress.knowledge.prediction import Blocks, errors, predicted_loss_rise
from autocompress.plan import CompressionPlan, Treatment
from autocompress.structures import Factor, Structure


class Estimate(NamedTuple):
    """What a treatment of a weight is expected to cost.

    Attributes:
        size_bytes: Bytes of its numbers in the file.
        loss_rise: Rise of the loss, nats for a language model; where no curvature is known, half
            the squared error relative to the squared weight; NaN for a site.
    """

    size_bytes: float
    loss_rise: float


class Outlook(NamedTuple):
    """What a plan is expected to cost.

    Attributes:
        size_bytes: Bytes of all numbers; header and vocabulary come on top.
        loss_rise: Rise of the loss; those of single weights add up.
        factors: The factors of the entry that was factorized last, if it is to be encoded.
    """

    size_bytes: float
    loss_rise: float
    factors: dict[str, Factors]


_Represented = tuple[Part, dict[str, Factor], dict[str, float], dict[str, Ends]]
"""A part of a weight, its factors, how many times as large each is of the whole weight, and the
ends of their rows."""


class Estimator:
    """Encodes some hundred rows of a weight's factors, evenly spread, and extrapolates to all.

    Of a weight that is large and wider than tall, some columns are encoded. Structures with
    factors of whole numbers have no part that stands for the whole; they are encoded as they are,
    and so are sites. What was estimated once is remembered.
    """

    def __init__(self, encoder: Encoder, rows: int) -> None:
        """Choose the rows.

        Args:
            encoder: Of the model.
            rows: About how many rows of each weight are encoded.
        """
        self._encoder, self._rows = encoder, rows
        self._source = encoder.source
        self._whole: tuple[str, Structure, Factors] | None = None
        self._parts: tuple[str, dict[Structure, _Represented]] = ("", {})
        self._known: dict[tuple[str, Treatment], Estimate] = {}

    def estimate(self, name: str, treatment: Treatment) -> Estimate:
        """Estimate one entry of a plan.

        Raises:
            PlanError: If the treatment does not fit; the message names both.
        """
        key = name, treatment.stored
        if key not in self._known:
            self._known[key] = self._estimate(*key)
        return self._known[key]

    def _estimate(self, name: str, treatment: Treatment) -> Estimate:
        members = self._source.members(name)
        part, factors, shares, ends = self._represented(name, treatment)
        n_spared = 0
        if treatment.precision.spans and ends:
            factors, n_spared = part.spanning(factors, ends), part.n_spared
        own = tuple(replace(weight, values=part.of_matrix(weight.matrix)) for weight in members)
        record, data = encode_factors(own, name, treatment, factors)
        size = sum(
            shares[key] * sum(stream.length for stream in streams)
            for key, streams in record.factors.items()
        )
        if len(members) > 1:
            return Estimate(size, math.nan)
        blocks = decode_blocks(record, data)
        exact = own[0].matrix
        error = _without_last(errors(blocks, exact), n_spared)
        rise = predicted_loss_rise(self._source, name, error, part.of_curvature)
        counted = len(exact) * (exact.shape[1] - n_spared)
        return Estimate(size, members[0].values.size / counted * rise)

    def _represented(self, name: str, treatment: Treatment) -> _Represented:
        """Represent a part of a weight by factors.

        Those of one weight are kept while it is the one asked for, and whole those made last.
        """
        known, parts = self._parts
        if known != name:
            parts = {}
            self._parts = name, parts
        structure = treatment.structure
        if structure not in parts:
            self._whole = None  # it may be large
            whole = self._encoder.factorize(name, treatment)
            self._whole = name, structure, whole
            part = self._part(name, structure)
            factors, shares = part.of_factors(whole)
            if not part.suits(structure, factors):
                part = Part(part.shape)
                factors, shares = part.of_factors(whole)
            parts[structure] = part, factors, shares, part.ends(whole)
        return parts[structure]

    def _part(self, name: str, structure: Structure) -> Part:
        shape = self._source.shape(name)
        if len(self._source.members(name)) > 1 or structure.integer_shapes(shape):
            return Part(shape)
        return Part.of(shape, self._rows, self._source.curvature(name))

    def forget(self) -> None:
        """Let go of all factors; what was estimated is still known."""
        self._whole, self._parts = None, ("", {})

    def size(self, plan: CompressionPlan) -> float:
        """Estimate the bytes of all numbers of a plan; header and vocabulary come on top.

        Raises:
            PlanError: If the plan does not fit the model.
        """
        return sum(self.estimate(name, one).size_bytes for name, one in plan.treatments.items())

    def outlook(self, plan: CompressionPlan) -> Outlook:
        """Estimate a whole plan; what is encoded already counts with its size.

        Raises:
            PlanError: If the plan does not fit the model.
        """
        size = loss_rise = 0.0
        factors: dict[str, Factors] = {}
        for name, treatment in plan.treatments.items():
            estimate = self.estimate(name, treatment)
            loss_rise += estimate.loss_rise
            known = self._encoder.known_bytes(name, treatment)
            size += estimate.size_bytes if known is None else known
            if known is None and self._whole and self._whole[:2] == (name, treatment.structure):
                factors[name] = self._whole[2]
        return Outlook(size, loss_rise, factors)


def _without_last(error: Blocks, n_cols: int) -> Blocks:
    """Yield errors, but zero in the last columns."""
    for rows, values in error:
        if n_cols:
            values[:, -n_cols:] = 0
        yield rows, values
