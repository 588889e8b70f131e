"""Of which of several models a plan is fine-tuned."""

from __future__ import annotations

from collections.abc import Callable

from autocompress.outcome.limits import resolved
from autocompress.outcome.metric import cost
from autocompress.outcome.names import SIZE
from autocompress.outcome.results import SearchResult, TrialResult
from autocompress.searching.folder import SearchFolder
from autocompress.searching.judge import Judge
from autocompress.searching.several.joined import JoinedFolder
from autocompress.searching.summary import summary


def to_fine_tune(result: SearchResult, folder: JoinedFolder) -> str | None:
    """Return the model of the plan that is worth fine-tuning, or None if none is.

    Without a limit on the rise of the metric it is that of the best; with one, of what is
    promising in each model, the smallest, or under a budget what loses least.
    """
    if result.max_rise is None:
        return None if result.best is None else result.best.model
    found = {}
    for seen, member in zip(folder.seen, folder.members, strict=True):
        one = _promising(member)
        if one is not None:
            found[seen.name] = one
    key: Callable[[str], float] = lambda name: found[name].size_bytes  # noqa: E731
    if SIZE in result.bounds:
        way = result.directions[result.metric]
        key = lambda name: cost(found[name].values[result.metric], way)  # noqa: E731
    return min(found, key=key, default=None)


def _promising(folder: SearchFolder) -> TrialResult | None:
    baseline, trials = folder.baseline(), folder.trials()
    if baseline is None or not trials:
        return None
    settings, own = folder.settings(), summary(folder, 0.0)
    judge = Judge(settings, resolved(settings.asked, baseline), baseline)
    best = own.best_of(own.front)
    return judge.promising(trials, None if best is None else best.trial)
