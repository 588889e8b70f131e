"""By how much a plan misses which limit, and whether measuring is as exact as that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autocompress.outcome.limits import RISE, Limit, format_bytes, parse_rise
from autocompress.outcome.names import LATENCY, LATENCY_NOISE, SIZE

if TYPE_CHECKING:
    from autocompress.outcome.results import Scored, SearchResult

_ERRORS = 2.0
"""Standard errors: what is missed by less may be kept on other data of the same kind."""


@dataclass(frozen=True)
class Miss:
    """A limit that is missed.

    Attributes:
        objective: Its name.
        told: What was measured, what is allowed, and the difference.
        excess: The difference, in shares of the limit's own unit: of the metric, of the
            baseline.
        noise: Twice the standard error of what was measured, in the same shares; None where it
            is not known, 0 where the number is exact.
    """

    objective: str
    told: str
    excess: float
    noise: float | None

    @property
    def within_noise(self) -> bool:
        """Whether measuring is not exact enough to tell that the limit is missed."""
        return self.noise is not None and self.excess <= self.noise

    def __str__(self) -> str:
        if not self.noise:
            return self.told
        side = "within" if self.within_noise else "beyond"
        return f"{self.told}, {side} the noise of its measurement (±{100 * self.noise:.2g} %)"


def misses_of(result: SearchResult, scored: Scored) -> list[Miss]:
    """Tell each limit that a model misses, the one that is missed most first.

    Args:
        result: The search.
        scored: One of its models, measured whole.
    """
    found = [
        _miss(result, scored, name, limit)
        for name, limit in result.bounds.items()
        if name in scored.values and limit.excess(scored.values[name]) > 0
    ]
    return sorted(found, key=lambda miss: -miss.excess)


def _miss(result: SearchResult, scored: Scored, name: str, limit: Limit) -> Miss:
    value, excess = scored.values[name], limit.excess(scored.values[name])
    if name == SIZE:
        over = f"{100 * excess:.3g} % too much" if excess < 1 else f"{1 + excess:.3g} times that"
        told = f"{format_bytes(value)} where {format_bytes(limit.bound)} are allowed, {over}"
        return Miss(name, told, excess, 0.0)
    if name == result.metric and result.max_rise is not None:
        return _rise(result, scored, parse_rise(result.max_rise))
    told = f"{name} {value:.4g} where {limit.bound:.4g} is allowed, {100 * excess:.3g} % too much"
    noise = scored.values.get(LATENCY_NOISE) if name == LATENCY else None
    return Miss(name, told, excess, None if noise is None else _ERRORS * noise)


def _rise(result: SearchResult, scored: Scored, limit: Limit) -> Miss:
    """Tell a rise in the terms in which it was limited."""
    sign = "+" if result.directions[result.metric] == "minimize" else "-"
    worse = result.worsening(scored.values)
    noise = result.noise if scored == result.nearest else None
    noise = None if noise is None else _ERRORS * noise
    said = f"{result.metric} {result.change(scored)} where {sign}{limit} is allowed"
    if limit.unit == RISE:
        over = worse - limit.bound
        return Miss(result.metric, f"{said}, {100 * over:.3g} points too much", over, noise)
    baseline = result.baseline.values[result.metric]
    difference = abs(scored.values[result.metric] - baseline)
    said = f"{result.metric} {sign}{difference:.4g} where {sign}{limit} is allowed"
    over = difference - limit.bound
    share = over / abs(baseline) if baseline else over
    return Miss(result.metric, f"{said}, {over:.3g} too much", share, noise if baseline else None)
