"""Sizes as the papers count them: numbers times their width, and nothing else."""

from __future__ import annotations

from autocompress.encoding.encoder import Encoder
from autocompress.plan import CompressionPlan, Treatment
from autocompress.structures import Factor


def accounted_bytes(encoder: Encoder, plan: CompressionPlan) -> float:
    """Return the size of a plan by the accounting of Grachev et al., in bytes.

    Stored numbers times their width: 4 bytes in single precision, 2 in half, b/8 for b bits. The
    positions of pruned elements, scales, levels, block assignments, vocabulary and file format
    are not counted, and of the two biases that a recurrent layer has in PyTorch, one. Codes of
    vector quantization are, b/8 bytes each.

    Raises:
        PlanError: If the plan does not fit the model.
        ValueError: If it stores numbers in entropy-constrained steps, which have no width.
    """
    return sum(
        _factor_bytes(key, factor, treatment)
        for name, treatment in plan.treatments.items()
        if "bias_hh" not in name
        for key, factor in encoder.factorize(name, treatment).items()
    )


def _factor_bytes(name: str, factor: Factor, treatment: Treatment) -> float:
    if factor.integers:
        return factor.values.size * treatment.structure.counted_bits(name) / 8
    width = treatment.precision.width_bits
    if width is None:
        raise ValueError(f"numbers in '{treatment.precision.label()}' have no width of their own")
    count = factor.values.size if factor.mask is None else int(factor.mask.sum())
    return count * width / 8
