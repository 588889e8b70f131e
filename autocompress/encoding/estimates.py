"""What a treatment will cost, estimated on a part of the rows, before all of them are encoded."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

from autocompress.artifact.decoding import decode_blocks
from autocompress.encoding.encoder import Encoder, encode_factors
from autocompress.knowledge.prediction import errors, predicted_loss_rise
from autocompress.plan import CompressionPlan, Treatment
from autocompress.structures import Curvature, Factor, Structure, stacked_shape


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
        factors: By the entries that had to be factorized for it, their factors.
    """

    size_bytes: float
    loss_rise: float
    factors: dict[str, dict[str, Factor]]


class Estimator:
    """Encodes some hundred rows of a weight's factors, evenly spread, and extrapolates to all.

    Structures with factors of whole numbers have no part that stands for the whole; they are
    encoded as they are, and so are sites. What was estimated once is remembered.
    """

    def __init__(self, encoder: Encoder, rows: int) -> None:
        """Choose the rows.

        Args:
            encoder: Of the model.
            rows: About how many rows of each weight are encoded.
        """
        self._encoder, self._rows = encoder, rows
        self._source = encoder.source
        self._factorized: tuple[str, dict[Structure, dict[str, Factor]]] = ("", {})
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
        n_rows, n_cols = stacked_shape([weight.values.shape for weight in members])
        stride = max(1, n_rows // max(self._rows, n_cols))
        if len(members) > 1 or treatment.structure.integer_shapes((n_rows, n_cols)):
            stride = 1
        part = tuple(replace(weight, values=weight.matrix[::stride]) for weight in members)
        share = n_rows / sum(len(weight.matrix) for weight in part)
        factors, shares = {}, {}
        for key, factor in self._factorize(name, treatment).items():
            # With fewer columns than rows, a factor of as many rows has the weight's own.
            is_thinned = stride > 1 and len(factor.values) == n_rows
            factors[key] = _thinned(factor, stride) if is_thinned else factor
            shares[key] = share if is_thinned else 1.0
        record, data = encode_factors(part, name, treatment, factors)
        size = sum(
            shares[key] * sum(stream.length for stream in streams)
            for key, streams in record.factors.items()
        )
        if len(members) > 1:
            return Estimate(size, math.nan)
        blocks = decode_blocks(record, data)
        rise = predicted_loss_rise(self._source, name, errors(blocks, part[0].matrix), stride)
        return Estimate(size, share * rise)

    def _factorize(self, name: str, treatment: Treatment) -> dict[str, Factor]:
        """Factorize a weight; the factors of one weight are kept while it is the one asked for."""
        known, factors = self._factorized
        if known != name:
            factors = {}
            self._factorized = name, factors
        if treatment.structure not in factors:
            factors[treatment.structure] = self._encoder.factorize(name, treatment)
        return factors[treatment.structure]

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
        factors: dict[str, dict[str, Factor]] = {}
        for name, treatment in plan.treatments.items():
            estimate = self.estimate(name, treatment)
            loss_rise += estimate.loss_rise
            known = self._encoder.known_bytes(name, treatment)
            size += estimate.size_bytes if known is None else known
            of, factorized = self._factorized
            if known is None and of == name and treatment.structure in factorized:
                factors[name] = factorized[treatment.structure]
        return Outlook(size, loss_rise, factors)


def _thinned(factor: Factor, stride: int) -> Factor:
    """Return every so-manieth row of a factor, with what is known of them."""
    mask, frequencies = factor.mask, factor.row_frequencies
    # Steps that depend on the whole factor must not change with the part that is looked at.
    curvature = factor.curvature or Curvature.relative(factor.values)
    return replace(
        factor,
        values=factor.values[::stride],
        mask=None if mask is None else mask[::stride],
        row_frequencies=None if frequencies is None else frequencies[::stride],
        curvature=curvature.of_rows(slice(None, None, stride)),
    )
