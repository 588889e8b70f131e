"""Where the axes of a picture begin and end, and what is written at them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from matplotlib.ticker import MaxNLocator


def value_limits(
    front: Sequence[float], cloud: Sequence[float], baseline: float, lower: bool
) -> tuple[float, float]:
    """Fit the range to the baseline and the bulk of the front.

    The smallest files of a front may be many times worse than the rest. Values are shown up to
    four times as far from the best as the front's median is, and the front up to a tenth of the
    baseline; the side where nothing can be, for it would be better than the front, keeps room
    for the notes.
    """
    sign = 1.0 if lower else -1.0
    good = min(sign * value for value in (*front, baseline))
    middle = median(sign * value for value in front) if front else good
    reach = max(4 * (middle - good), 0.04 * abs(baseline), 1e-12)
    wide = max(reach, 0.1 * abs(baseline))
    shown = [sign * y for y in (*cloud, baseline) if sign * y <= good + reach]
    shown += [sign * y for y in front if sign * y <= good + wide]
    span = max(max(shown) - good, reach / 2, sign * baseline - good)
    near, far = good - 0.3 * span, max(good + span, sign * baseline) + 0.08 * span
    return (near, far) if lower else (-far, -near)


def with_ceiling(low: float, high: float, ceiling: float) -> tuple[float, float]:
    """Widen the range to a limit on the metric, unless all else would shrink to nothing."""
    span = high - low
    if not low - 2 * span <= ceiling <= high + 2 * span:
        return low, high
    return min(low, ceiling - 0.08 * span), max(high, ceiling + 0.08 * span)


def cost_limits(costs: Sequence[float]) -> tuple[float, float]:
    """Fit the range of a logarithmic axis to costs, with some room beside them."""
    low, high = math.log(min(costs)), math.log(max(costs))
    margin = max(0.08 * (high - low), 0.05)
    return math.exp(low - margin), math.exp(high + margin)


def cost_ticks(low: float, high: float) -> list[float]:
    """Choose round costs for a logarithmic axis, at least three where there is room."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for mantissas in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [m * 10.0**d for d in decades for m in mantissas if low <= m * 10.0**d <= high]
        if len(ticks) >= 4:
            return ticks
    return value_ticks(low, high)


def value_ticks(low: float, high: float) -> list[float]:
    """Choose round numbers for a linear axis."""
    ticks = MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(tick) for tick in ticks if low <= tick <= high]


def plain(value: float) -> str:
    """Write a number without an exponent, as the label of an axis."""
    return f"{value:.10g}"
