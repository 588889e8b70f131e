"""What a search tries before the sampler: allocations, and the plans that its space names."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autocompress.encoding.encoder import Encoder
from autocompress.encoding.estimates import Estimator
from autocompress.outcome.objectives import Budget
from autocompress.outcome.results import TrialResult
from autocompress.searching.openings.allocation import (
    allocate,
    allocated,
    allocated_to_budget,
    price_of_rise,
    price_of_size,
    total_bytes,
)
from autocompress.searching.openings.chase import Chase
from autocompress.searching.openings.menus import menus
from autocompress.searching.openings.uniform import (
    RUNGS,
    Family,
    Opening,
    families,
    first_below,
    fitting_scale,
    openings,
)
from autocompress.searching.space.language import Space
from autocompress.searching.space.questions import Replay, ask_plan
from autocompress.searching.space.tables import Scalar
from autocompress.support.files import write_json
from autocompress.support.threads import one_thread

_ROWS = 256
_SMALLEST_RISE = 0.001
_FRONT_RISES = (0.001, 0.25)
_FRONT_PLANS = 14
_FINER = (0.7, 0.5, 0.35)
_SMALLER = 0.85

Answers = Mapping[str, Scalar]


class Guide:
    """The openings of a search, in order; what it is made of is kept in a file."""

    def __init__(
        self,
        space: Space,
        encoder: Encoder,
        budget: Budget | None,
        rises: Sequence[float],
        kept: Path,
    ) -> None:
        """Plan the openings, or read them where that was done before.

        Args:
            space: What is offered.
            encoder: Of the model, with its sensitivities.
            budget: The limit on the file, if any.
            rises: Rises of the metric, in shares of the baseline, for each of which the smallest
                file is to be found.
            kept: The file; it belongs to one search.
        """
        self._space, self._source = space, encoder.source
        if not kept.exists():
            with one_thread():
                write_json(kept, _Planning(space, encoder, budget, rises).document())
        document = json.loads(kept.read_text(encoding="utf-8"))
        self._chases = [
            (prefix, Chase(Family(prefix, one["answers"]), one["first"], one["rise"]))
            for prefix, one in document["chases"].items()
        ]
        self._fixed: dict[str, Answers] = document["openings"]

    def known(self) -> Iterator[Opening]:
        """Yield the openings that are known in advance, those fitted to a budget first."""
        for origin, answers in self._fixed.items():
            yield self._opening(origin, answers)

    def next(
        self,
        begun: Collection[str],
        results: Sequence[TrialResult],
        rise_of: Callable[[TrialResult], float],
        is_slow: Callable[[TrialResult], bool],
    ) -> Opening | None:
        """Return the next opening, or None where it is the sampler's turn.

        Args:
            begun: Origins of all trials that were begun.
            results: All finished trials.
            rise_of: Tells the rise of the metric over the baseline.
            is_slow: Tells whether a limit on the latency was missed: other steps will not help.
        """
        for prefix, chase in self._chases:
            own = [result for result in results if result.origin.startswith(f"{prefix}, ")]
            if any(map(is_slow, own)):
                continue
            scale, origin = chase.scale(own, rise_of), f"{prefix}, aim {len(own) + 1}"
            if scale is not None and origin not in begun:
                opening = chase.family.at(scale, self._space, self._source)
                return replace(opening, origin=origin)
        for origin, answers in self._fixed.items():
            if origin not in begun:
                return self._opening(origin, answers)
        return None

    def _opening(self, origin: str, answers: Answers) -> Opening:
        return Opening(origin, answers, ask_plan(self._space, self._source, Replay(answers)))


class _Planning:
    """Makes the document that a guide keeps."""

    def __init__(
        self, space: Space, encoder: Encoder, budget: Budget | None, rises: Sequence[float]
    ) -> None:
        self._space, self._encoder, self._source = space, encoder, encoder.source
        self._budget, self._rises = budget, rises
        self._menus = menus(space, encoder)
        self._openings: dict[str, Answers] = {}
        self._chases: dict[str, dict[str, Any]] = {}

    def document(self) -> dict[str, Any]:
        for rise in self._rises:
            self._for_rise(rise)
        if self._budget is not None:
            self._for_budget(self._budget)
        elif not self._rises:
            self._for_front()
        space = self._space
        if self._budget is not None or self._rises:  # then ladders have been fitted
            alike = tuple(uniform for uniform in space.uniform if not uniform.ladder)
            space = space.model_copy(update={"uniform": alike})
        for opening in openings(space, self._encoder, None):
            self._add(opening.origin, opening.answers)
        return {"chases": self._chases, "openings": self._openings}

    def _for_rise(self, rise: float) -> None:
        """Aim at a rise with the allocation and with all ladders; else guess, some times finer."""
        price = price_of_rise(self._menus, max(rise, _SMALLEST_RISE))
        chosen = allocated(self._menus, price, self._space, self._source)
        size = total_bytes(allocate(self._menus, price))
        estimator = Estimator(self._encoder, _ROWS)
        for family in (chosen, *families(self._space, self._source)):
            if not family.is_scalable:
                continue

            def estimated(octaves: float, family: Family = family) -> float:
                return estimator.size(family.at(2.0**octaves, self._space, self._source).plan)

            first = 1.0 if family is chosen else 2.0 ** first_below(estimated, size)
            prefix = f"{family.name} for {100 * rise:+.3g} %"
            answers = dict(family.answers)
            self._chases[prefix] = {"answers": answers, "first": first, "rise": rise}
        for share in _FINER:
            self._allocate(price_of_rise(self._menus, max(share * rise, _SMALLEST_RISE)))

    def _for_budget(self, budget: Budget) -> None:
        """Fit an allocation and all ladders to the budget, then allocate fewer and fewer bytes."""
        chosen = allocated_to_budget(self._menus, self._space, self._encoder, budget)
        for family in (chosen, *families(self._space, self._source)):
            scale = 1.0
            if family is not chosen:
                scale = fitting_scale(family, self._space, self._encoder, budget)
            opening = family.at(scale, self._space, self._source)
            self._add(f"{family.name} for {budget}", opening.answers)
        for rung in range(1, RUNGS):
            limit = budget.limit_bytes * _SMALLER**rung
            self._allocate(price_of_size(self._menus, limit))

    def _for_front(self) -> None:
        """Allocate at prices between hardly any and a great rise of the loss."""
        low, high = (math.log(price_of_rise(self._menus, rise)) for rise in _FRONT_RISES)
        for step in range(_FRONT_PLANS):
            self._allocate(math.exp(low + (high - low) * step / (_FRONT_PLANS - 1)))

    def _allocate(self, price: float) -> None:
        family = allocated(self._menus, price, self._space, self._source)
        opening = family.at(1.0, self._space, self._source)
        self._add(f"{family.name} at {price:.3g} a bit", opening.answers)

    def _add(self, origin: str, answers: Answers) -> None:
        """Add an opening, unless there is one of the same plan."""
        if answers not in self._openings.values():
            self._openings[origin] = answers
