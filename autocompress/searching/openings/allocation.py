"""Allocation: from each weight's menu the candidates that together are the best for a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from autocompress.encoding.encoder import Encoder
from autocompress.knowledge.source import Source
from autocompress.knowledge.weights import Site
from autocompress.outcome.prospects import Curve
from autocompress.searching.openings.menus import Candidate, Menu
from autocompress.searching.openings.uniform import (
    Family,
    Opening,
    file_size,
    first_below,
    fitting_scale,
)
from autocompress.searching.space.language import Space
from autocompress.searching.space.tables import Scalar

ALLOCATION = "allocation"
_PRICES = (1e-16, 1e4)  # loss per bit
_POINTS = 60
_HALVINGS = 50


def allocate(menus: Mapping[str, Menu], price: float) -> dict[str, Candidate]:
    """Choose by weight the candidate of the least loss and bytes, taken together at a price.

    All plans of the lower convex hull of loss over bytes come about in this way, for some price
    [1].

    Args:
        menus: By weight name, at least one option each.
        price: What a bit must be worth, in units of the loss.

    References:
        [1] Y. Shoham, A. Gersho. Efficient Bit Allocation for an Arbitrary Set of Quantizers.
            IEEE Transactions on Acoustics, Speech, and Signal Processing 1988.
    """

    def cost(candidate: Candidate) -> float:
        return candidate.estimate.loss_rise + price * 8 * candidate.estimate.size_bytes

    return {
        name: min((option.at(price) for option in menu), key=cost) for name, menu in menus.items()
    }


def total_bytes(chosen: Mapping[str, Candidate]) -> float:
    """Return the estimated bytes of all weights."""
    return sum(candidate.estimate.size_bytes for candidate in chosen.values())


def total_loss_rise(chosen: Mapping[str, Candidate]) -> float:
    """Return the predicted rise of the loss; rises of weights add up."""
    return sum(candidate.estimate.loss_rise for candidate in chosen.values())


def price_of_size(menus: Mapping[str, Menu], limit_bytes: float) -> float:
    """Return the lowest price at which the weights take at most so many bytes."""
    return _lowest_price(lambda price: total_bytes(allocate(menus, price)) <= limit_bytes)


def price_of_loss_rise(menus: Mapping[str, Menu], loss_rise: float) -> float:
    """Return about the highest price at which the loss should rise by at most so much."""
    return _lowest_price(lambda price: total_loss_rise(allocate(menus, price)) > loss_rise)


def _lowest_price(holds: Callable[[float], bool]) -> float:
    """Return about the lowest price from which on something holds, or the highest of all."""
    low, high = (math.log(price) for price in _PRICES)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(math.exp(middle)) else (middle, high)
    return math.exp(high)


def curve_of(menus: Mapping[str, Menu], source: Source) -> Curve | None:
    """Return what the best plans should reach by their bytes; None where no loss is known."""
    if not source.calibration.sensitivities:
        return None
    low, high = (math.log(price) for price in _PRICES)
    points: list[tuple[float, float]] = []
    for step in range(_POINTS):
        chosen = allocate(menus, math.exp(high + (low - high) * step / (_POINTS - 1)))
        size, rise = total_bytes(chosen), total_loss_rise(chosen)
        if not points or (size > points[-1][0] and rise < points[-1][1]):
            points.append((size, rise))
    numbers = sum(weight.values.nbytes for weight in source.weights.weights.values())
    return Curve(tuple(points), numbers)


def allocated(menus: Mapping[str, Menu], price: float, space: Space, source: Source) -> Family:
    """Return the plans around an allocation."""
    answers: dict[str, Scalar] = {f"{site.name}/shared": "no" for site in _sites(space, source)}
    for candidate in allocate(menus, price).values():
        answers |= candidate.answers
    return Family(ALLOCATION, answers)


def _sites(space: Space, source: Source) -> Sequence[Site]:
    return () if space.sites is None else source.calibration.sites


def allocated_to_budget(
    menus: Mapping[str, Menu], space: Space, encoder: Encoder, limit_bytes: int
) -> Opening:
    """Return the finest allocation whose file fits.

    Estimates say where to begin; the price is then fitted by writing files. Where the next option
    of a weight is so large that much is left over, finer steps take it.
    """
    near = price_of_size(menus, limit_bytes)

    def at(octaves: float) -> Family:
        # Prices go with the square of steps.
        return allocated(menus, near * 4.0**octaves, space, encoder.source)

    def size(octaves: float) -> float:
        return file_size(encoder, at(octaves).at(1.0, space, encoder.source).plan)

    chosen = at(first_below(size, limit_bytes))
    scale = fitting_scale(chosen, space, encoder, limit_bytes) if chosen.is_scalable else 1.0
    return chosen.at(scale, space, encoder.source)
