"""Numbers in training as they will be stored, with gradients that skip the rounding."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autocompress.precisions import Precision
from autocompress.precisions.base import expected_magnitudes
from autocompress.recovery.numbers import Numbers
from autocompress.structures import Factor

_REACH = 0.45  # steps


def rounded(numbers: Numbers, precision: Precision) -> Any:
    """Return a factor's numbers as they will be stored: a tensor, or whole numbers as an array.

    Pruned elements are zero and rest. In the backward pass, rounding is skipped.
    """
    if numbers.latent is None:
        return numbers.factor.values
    if numbers.codes is not None:
        return leveled(numbers, numbers.codes)
    mask = numbers.mask
    values = numbers.values if mask is None else numbers.values * mask
    if precision.is_exact or precision.trains_levels:  # no level is known yet: pruning goes on
        return values
    return values + (_stored(numbers, values.detach(), precision) - values).detach()


def _stored(numbers: Numbers, values: Tensor, precision: Precision) -> Tensor:
    """Return values as they are after storing and loading."""
    steps = numbers.steps(precision)
    if steps is not None:
        return torch.round(values / steps) * steps
    own = replace(numbers.factor, values=values.cpu().numpy())
    return torch.from_numpy(precision.quantize(own)).to(values.device)


def leveled(numbers: Numbers, codes: Tensor) -> Tensor:
    """Return the level of each element, which is the mean of the elements that share it.

    So elements that share a level share its gradient and move together: the codes stay, and the
    level is trained [1].

    References:
        [1] S. Han, H. Mao, W. Dally. Deep Compression: Compressing Deep Neural Networks with
            Pruning, Trained Quantization and Huffman Coding. ICLR 2016, arXiv 1510.00149, sec. 3.
    """
    latent, mask = numbers.values, numbers.mask
    values = latent.flatten() if mask is None else latent[mask]
    size = int(codes.max()) + 1 if codes.numel() else 0
    counts = torch.bincount(codes, minlength=size).clamp(min=1)
    levels = values.new_zeros(size).index_add(0, codes, values) / counts
    stored = levels.detach().half().float()
    spread = (levels + (stored - levels).detach())[codes]
    if mask is None:
        return spread.reshape(latent.shape)
    return torch.zeros_like(latent).masked_scatter(mask, spread)


def settled(factor: Factor, precision: Precision) -> Factor:
    """Return a factor that rounding to the nearest level takes to the levels of its own rounding.

    Training relies upon the nearest level. What was rounded elsewhere, for error feedback or for
    the bits, is moved just into the reach of the level that it was rounded to.
    """
    if factor.integers:
        return factor
    values, steps = factor.values, precision.steps(factor)
    if steps is not None:
        level, reach = precision.quantize(factor), _REACH * steps
        values = np.clip(values, level - reach, level + reach).astype(np.float32)
    return precision.steady(replace(factor, values=values))


def shrink(numbers: Numbers, precision: Precision, amount: float) -> None:
    """Draw numbers towards zero, in proportion to the bits that a further step costs.

    Where a price per bit gives each number its step, a number that is worth its bits resists as
    strongly as any other in units of the optimizer, which normalises gradients: the pull is the
    root of the price times the bits. With magnitudes, in steps, of the mean m, a further step
    costs about log2(1 + 1 / m) bits; m is told from row and column.

    Args:
        numbers: Stored in steps of their own.
        precision: How they are stored.
        amount: How far, in units of the latents, for each bit and the root of a price of one.
    """
    if numbers.latent is None:
        return
    steps, price = numbers.steps(precision), precision.price(numbers.now)
    assert steps is not None
    with torch.no_grad():
        expected = expected_magnitudes(torch.round(numbers.values / steps).abs())
        distance = amount * math.sqrt(price) * torch.log2(1 + 1 / expected)
        numbers.latent.sub_(torch.clamp(numbers.latent, -distance, distance))
