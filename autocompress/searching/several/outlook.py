"""Whether a model has any chance to reach the front, told by predictions before any trial of it.

Predictions at few bits a weight are off by some times: a model is only given up where a third of
the rise of the loss that is predicted for it would still be too much.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import median

from autocompress.outcome.limits import format_bytes
from autocompress.outcome.metric import cost, worse_by, worsening_of
from autocompress.outcome.names import SIZE
from autocompress.outcome.prospects import Curve
from autocompress.outcome.results import SearchResult, TrialResult
from autocompress.searching.several.joined import Seen

_TRUSTED = 1 / 3  # of a predicted rise of the loss, which is likely to be there
_LARGEST_LOSS = 50.0  # nats
_BYTES_PER_NUMBER = 4
_TWO = 2  # size and the task's metric


def hopeless(result: SearchResult, seen: Seen, curve: Curve, trust: float = 1.0) -> str | None:
    """Say why no plan of a model can be expected to reach the front, or None.

    Args:
        result: What was found so far, of all models.
        seen: The model.
        curve: What its plans should reach.
        trust: By what to multiply predicted rises, from what trials have shown of them.
    """
    score = seen.score
    if not result.front or score == 0 or len(result.directions) > _TWO:
        return None
    size_limit, bound = (result.bounds.get(name) for name in (SIZE, result.metric))
    told: tuple[float, float] | None = None
    for size, rise in _files(seen, curve, trust):
        if size_limit is not None and size_limit.excess(size) > 0:
            continue
        told = size, _worse(result, score, rise)
        hoped = _worse(result, score, _TRUSTED * rise)
        values = {SIZE: size, result.metric: hoped}
        if bound is not None and bound.excess(hoped) > 0:
            continue
        if result.worsening(values) <= 1.0 and not _is_beaten(result, values):
            return None
    if told is None:
        return "the search space offers nothing so small"
    value = f"{result.metric} {told[1]:.4g}" if told[1] < math.inf else "nothing of use"
    best = result.best or result.front[-1]
    found = f"{result.metric} {best.values[result.metric]:.4g} in {format_bytes(best.size_bytes)}"
    return f"{value} is predicted for {format_bytes(told[0])}, where there is {found}"


def _files(seen: Seen, curve: Curve, trust: float) -> Iterator[tuple[float, float]]:
    """Yield sizes of files, and by how much the loss should rise, from the smallest on."""
    beside = max(seen.size_bytes - curve.numbers_bytes, 0)
    for n_bytes, rise in curve.points:
        yield n_bytes + beside, trust * rise


def _worse(result: SearchResult, score: float, rise: float) -> float:
    share = math.expm1(min(rise, _LARGEST_LOSS))
    return worse_by(score, share, result.directions[result.metric])


def _is_beaten(result: SearchResult, values: dict[str, float]) -> bool:
    way = result.directions[result.metric]
    return any(
        one.size_bytes <= values[SIZE]
        and cost(one.values[result.metric], way) <= cost(values[result.metric], way)
        for one in result.front
    )


def of_another(curve: Curve, known: Seen, seen: Seen) -> Curve:
    """Guess the curve of a model from that of another: as much is lost at as many bits a weight.

    Of two nets of a kind, the larger one loses less at as many bits.

    Args:
        curve: Of the model that is known.
        known: That model.
        seen: The other one.
    """
    times = seen.n_weights / known.n_weights
    points = tuple((times * n_bytes, rise) for n_bytes, rise in curve.points)
    return Curve(points, _BYTES_PER_NUMBER * seen.n_weights)


def trust_in(trials: Sequence[TrialResult], score: float, result: SearchResult) -> float:
    """Return what predicted rises of the loss are to be multiplied by; at most 1.

    Args:
        trials: Of one model.
        score: Its metric before compression.
        result: The search of all models.
    """
    metric, way = result.metric, result.directions[result.metric]
    pairs = [
        (one.predicted, worsening_of(one.values[metric], score, way))
        for one in trials
        if one.predicted and one.predicted > 0 and metric in one.values
    ]
    shown = [math.log1p(rise) / predicted for predicted, rise in pairs if rise > 0]
    return min(median(shown), 1.0) if shown else 1.0
