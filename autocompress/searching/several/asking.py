"""What a search of several models is asked for, and what that means for each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from autocompress.errors import BudgetError, ObjectiveError, SearchError
from autocompress.knowledge.guarded import GuardedTask
from autocompress.outcome.budgets import RelativeBudget
from autocompress.outcome.limits import (
    WORSE,
    Budget,
    Limit,
    format_bytes,
    parse_rise,
    resolved,
    written_rise,
)
from autocompress.outcome.metric import distance
from autocompress.searching.request import Request
from autocompress.searching.several.joined import Seen
from autocompress.searching.several.models import reference_of


class Asked(NamedTuple):
    """What is asked for.

    Attributes:
        whole: Of all models; relative limits are those of the reference.
        own: By name, of each model's own search: all limits are absolute.
        left_out: By name, why a model cannot keep the limits whatever its plan.
    """

    whole: Request
    own: Mapping[str, Request]
    left_out: Mapping[str, str]


def check(request: Request) -> None:
    """Refuse what several models have not in common.

    Raises:
        SearchError: If latency counts, or several members are to be fine-tuned.
        ObjectiveError: If an objective has a name that is needed.
    """
    if request.is_timed:
        raise SearchError(
            "latency is told in shares of one uncompressed model, but several are searched; leave "
            "the latency (--latency-budget, or the space) out, or search one model"
        )
    if request.recovery_members > 1:
        raise SearchError(
            f"of several models only the best plan is fine-tuned, but recovery_members="
            f"{request.recovery_members} (--recover-members) were asked for; leave that out, or "
            "search one model"
        )
    if any(one.name == "model" for one in request.objectives):
        raise ObjectiveError(
            "an objective needs a name of its own, but 'model' is what several models are told "
            "apart by; choose another"
        )


def asked_of(
    request: Request,
    budget: Budget | RelativeBudget | None,
    seen: Sequence[Seen],
    task: GuardedTask,
) -> Asked:
    """Say what is asked of each model.

    Args:
        request: What is asked for, without the budget.
        budget: On the size of the file; a relative one refers to the reference.
        seen: The models.
        task: Knows what is better.

    Raises:
        BudgetError: If no model can keep the budget, or the limit on the rise is a share of 0.
    """
    reference = reference_of(seen, task)
    if isinstance(budget, RelativeBudget):
        budget = budget.of(reference.size_bytes, reference.n_weights)
    limit = None if budget is None else budget.limit_bytes
    whole = replace(request, budget_bytes=limit)
    left_out = {} if limit is None else _too_large(seen, limit)
    if len(left_out) == len(seen):
        least = min(one.least_bytes for one in seen)
        raise BudgetError(
            f"`budget >= {format_bytes(least)}` must hold for these models, which is what the "
            f"smallest file of one takes without a single weight, but got {budget}; ask for more"
        )
    own = {one.name: replace(whole, name=one.name) for one in seen}
    if request.max_rise is not None:
        bound = _bound(parse_rise(request.max_rise), reference, task)
        for one in seen:
            spare = distance(bound, one.score, task.direction)
            if spare < 0:
                left_out.setdefault(one.name, _misses(one, bound, task))
            rise = written_rise(Limit(max(spare, 0.0), unit=WORSE))
            own[one.name] = replace(own[one.name], max_rise=rise)
    return Asked(whole, own, left_out)


def _too_large(seen: Sequence[Seen], limit: int) -> dict[str, str]:
    return {
        one.name: f"its smallest file takes {format_bytes(one.least_bytes)} without any weight"
        for one in seen
        if one.least_bytes > limit
    }


def _bound(limit: Limit, reference: Seen, task: GuardedTask) -> float:
    if limit.unit != WORSE and limit.bound > 0 and reference.score == 0:
        raise BudgetError(
            f"a rise by {limit} is a share of the best uncompressed model's {task.metric}, but "
            'that is 0; state a difference in its own unit, such as `max_rise="+0.5"` '
            "(--max-rise +0.5)"
        )
    asked = {task.metric: replace(limit, direction=task.direction)}
    return resolved(asked, {task.metric: reference.score})[task.metric].bound


def _misses(one: Seen, bound: float, task: GuardedTask) -> str:
    return f"uncompressed its {task.metric} is {one.score:.4g}, where {bound:.4g} is allowed"
