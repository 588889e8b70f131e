"""What a search is to begin with, planned once; `guide` keeps it in a file and follows it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from autocompress.encoding.encoder import Encoder
from autocompress.encoding.estimates import Estimator
from autocompress.outcome.limits import format_bytes
from autocompress.outcome.origin import Aim, Origin
from autocompress.searching.openings.allocation import (
    allocate,
    allocated,
    allocated_to_budget,
    curve_of,
    price_of_loss_rise,
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
    left_out,
    openings,
)
from autocompress.searching.space.language import Space
from autocompress.support import progress

_ROWS = 256
_SMALLEST_RISE = 0.001
_FRONT_RISES = (0.001, 0.25)
_FRONT_PLANS = 14
_FINER, _SPARE = (0.7, 0.5, 0.35), 0.1
_SMALLER = 0.85

_Step = tuple[str, Callable[[], None]]


@dataclass(frozen=True)
class Goals:
    """What the openings of a search aim at.

    Attributes:
        limit_bytes: The limit on the size of the file, or None.
        rises: Rises of the metric, in shares of the baseline, for each of which the smallest file
            is to be found.
    """

    limit_bytes: int | None
    rises: tuple[float, ...] = ()


class Planning:
    """Plans the openings of a search.

    Attributes:
        chases: Families that aim at a rise, in order.
        openings: All others, in order; of equal answers only the first.
        curve: What the best plans should reach, or None where no loss is known.
    """

    def __init__(self, space: Space, encoder: Encoder, goals: Goals) -> None:
        """Plan them.

        Args:
            space: What is offered.
            encoder: Of the model, with its sensitivities.
            goals: What to aim at.
        """
        self.chases: list[Chase] = []
        self.openings: list[Opening] = []
        self._space, self._encoder, self._source = space, encoder, encoder.source
        self._menus = menus(space, encoder)
        self.curve = curve_of(self._menus, encoder.source)
        steps = list(self._steps(goals))
        # Fitting a ladder to a budget takes seconds: files are encoded until one fits.
        with progress.bar("first plans", len(steps)) as bar:
            for what, plan in steps:
                bar.advance(0, what)
                plan()
                bar.advance(1, what)

    def _steps(self, goals: Goals) -> Iterator[_Step]:
        """Yield what is to be planned, in order."""
        limit = goals.limit_bytes
        for rise in goals.rises:
            yield from self._for_rise(rise)
        if limit is not None:
            yield from self._for_size(limit)
        elif not goals.rises:
            yield "allocation", self._for_front
        fitted = limit is not None or bool(goals.rises)
        yield "uniform plans", partial(self._as_they_are, fitted=fitted)

    def _for_rise(self, rise: float) -> Iterator[_Step]:
        """Aim at a rise with the allocation and with all ladders; else guess, some times finer.

        Until something is measured, a small rise of the metric, in shares, is taken for one of
        the loss, in nats: of a perplexity, that is about the same.
        """
        yield "allocation", partial(self._allocation_for_rise, rise)
        estimator = Estimator(self._encoder, _ROWS)
        for family in families(self._space, self._source):
            if family.is_scalable:
                yield family.name, partial(self._family_for_rise, family, rise, estimator)
        yield "finer allocations", partial(self._finer_for_rise, rise)

    def _allocation_for_rise(self, rise: float) -> None:
        price = price_of_loss_rise(self._menus, max(rise, _SMALLEST_RISE))
        chosen = allocated(self._menus, price, self._space, self._source)
        if chosen.is_scalable:
            self.chases.append(Chase(chosen, 1.0, rise))
        self._spare(rise)

    def _family_for_rise(self, family: Family, rise: float, estimator: Estimator) -> None:
        price = price_of_loss_rise(self._menus, max(rise, _SMALLEST_RISE))
        size = total_bytes(allocate(self._menus, price))

        def estimated(octaves: float) -> float:
            return estimator.size(family.at(2.0**octaves, self._space, self._source).plan)

        with left_out(family.name):
            self.chases.append(Chase(family, 2.0 ** first_below(estimated, size), rise))

    def _finer_for_rise(self, rise: float) -> None:
        for share in _FINER:
            self._allocate(price_of_loss_rise(self._menus, max(share * rise, _SMALLEST_RISE)))

    def _spare(self, rise: float) -> None:
        """Have an allocation in reserve that is thought to be far better than it needs to be.

        Where structures such as low rank cost more than is predicted, finer steps do not help:
        then the rise is to come from coarser steps in structures that are finer.
        """
        price = price_of_loss_rise(self._menus, _SPARE * max(rise, _SMALLEST_RISE))
        chosen = allocated(self._menus, price, self._space, self._source)
        if chosen.is_scalable:
            family = replace(chosen, name=f"finer {chosen.name}")
            self.chases.append(Chase(family, 1.0, rise, is_spare=True))

    def _for_size(self, limit_bytes: int) -> Iterator[_Step]:
        """Fit an allocation and all ladders to the budget, then allocate fewer and fewer bytes."""
        yield "allocation", partial(self._allocation_for_size, limit_bytes)
        for family in families(self._space, self._source):
            yield family.name, partial(self._family_for_size, family, limit_bytes)
        yield "smaller allocations", partial(self._smaller_for_size, limit_bytes)

    def _allocation_for_size(self, limit_bytes: int) -> None:
        with left_out("allocation"):
            opening = allocated_to_budget(self._menus, self._space, self._encoder, limit_bytes)
            self._fitted(opening, limit_bytes)

    def _family_for_size(self, family: Family, limit_bytes: int) -> None:
        with left_out(family.name):
            scale = fitting_scale(family, self._space, self._encoder, limit_bytes)
            self._fitted(family.at(scale, self._space, self._source), limit_bytes)

    def _smaller_for_size(self, limit_bytes: int) -> None:
        for rung in range(1, RUNGS):
            self._allocate(price_of_size(self._menus, limit_bytes * _SMALLER**rung))

    def _for_front(self) -> None:
        """Allocate at prices between hardly any and a great rise of the loss."""
        low, high = (math.log(price_of_loss_rise(self._menus, rise)) for rise in _FRONT_RISES)
        for step in range(_FRONT_PLANS):
            self._allocate(math.exp(low + (high - low) * step / (_FRONT_PLANS - 1)))

    def _as_they_are(self, *, fitted: bool) -> None:
        """Add the uniform plans that the space names; where ladders were fitted, the others."""
        space = self._space
        if fitted:
            alike = tuple(uniform for uniform in space.uniform if not uniform.ladder)
            space = space.model_copy(update={"uniform": alike})
        for opening in openings(space, self._encoder, None):
            self._add(opening)

    def _fitted(self, opening: Opening, limit_bytes: int) -> None:
        family = opening.origin.family
        label = f"{family} for {format_bytes(limit_bytes)}"
        self._add(replace(opening, origin=Origin(label, family, Aim("size", limit_bytes))))

    def _allocate(self, price: float) -> None:
        family = allocated(self._menus, price, self._space, self._source)
        opening = family.at(1.0, self._space, self._source)
        origin = Origin(f"{family.name} at {price:.3g} a bit", family.name, Aim("price", price))
        self._add(replace(opening, origin=origin))

    def _add(self, opening: Opening) -> None:
        """Add an opening, unless there is one of the same plan."""
        if all(opening.answers != other.answers for other in self.openings):
            self.openings.append(opening)
