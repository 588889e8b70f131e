"""What a user should know before taking what a search calls the best."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autocompress.outcome.contenders import trial_title
from autocompress.outcome.limits import format_bytes, rise_unit
from autocompress.outcome.metric import distance

if TYPE_CHECKING:
    from autocompress.outcome.prospects import Prospect
    from autocompress.outcome.results import SearchResult

FAR_WORSE = 0.2
"""Of the baseline's metric: what loses more is not called the best without a word."""


def cautions(result: SearchResult) -> tuple[str, ...]:
    """Say that the best is far worse than the baseline, if it is, and what would not be.

    Only where the metric was not limited: what a limit permits was asked for.
    """
    if result.best is None or result.max_rise is not None:
        return ()
    metric = result.metric
    value, baseline = (one.values[metric] for one in (result.best, result.baseline))
    loss = distance(value, baseline, result.directions[metric]) / rise_unit(baseline)
    if loss <= FAR_WORSE:
        return ()
    kept = "keeps the limits, but its" if result.bounds else "has no limit to keep, and its"
    worse = f"{100 * loss:.3g} % worse" if baseline else "worse"
    caution = (
        f"the best {kept} {metric} is {worse} than that of the uncompressed model "
        f"({value:.4g} against {baseline:.4g}): state --max-rise (`max_rise`), or permit a larger "
        f"file{'' if result.sound is None else _sound(result, result.sound)}"
    )
    return (caution,)


def _sound(result: SearchResult, sound: Prospect) -> str:
    """Say what keeps the metric within a tenth."""
    if sound.rise is None:
        return ""
    size, sign = format_bytes(sound.size_bytes), "+" if _falls(result) else "-"
    within = f"within {sign}10 %"
    if sound.trial is not None:
        return f"; {trial_title(result, sound.trial)} keeps it {within} in {size}"
    return f"; about {size} should keep it {within}, as predicted"


def _falls(result: SearchResult) -> bool:
    return result.directions[result.metric] == "minimize"
