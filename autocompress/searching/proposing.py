"""The next plan to try: an opening, or as the sampler says."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from autocompress.encoding.encoder import Encoder
from autocompress.errors import PlanError
from autocompress.outcome.origin import Origin
from autocompress.plan import CompressionPlan
from autocompress.searching.openings.uniform import Opening
from autocompress.searching.records import Records
from autocompress.searching.space.language import Space
from autocompress.searching.space.questions import ask_plan
from autocompress.support import progress

_PROPOSALS = 20
_KNOWN_IN_A_ROW = 100


class Proposal(NamedTuple):
    """A plan that can be carried out.

    Attributes:
        number: Of its trial in the study.
        origin: What made it.
        plan: The plan.
    """

    number: int
    origin: Origin
    plan: CompressionPlan


class Proposer:
    """Asks the study for plans until one can be carried out.

    Attributes:
        is_through: Whether the search space seems to hold no further plan.
    """

    def __init__(self, space: Space, encoder: Encoder, records: Records) -> None:
        self._space, self._encoder = space, encoder
        self._records, self._study = records, records.study
        self.is_through = False

    def propose(self, opening_of: Callable[[], Opening | None]) -> Proposal | None:
        """Return the next plan that can be carried out, or None if many in a row cannot.

        In a wide space, many a combination does not fit some weight. Such proposals are kept in
        the study, but only the last of many counts as a trial, one that failed. In a narrow one,
        the sampler proposes what is known; it then draws at random, and the space is through
        where a hundred draws in a row give nothing new.

        Args:
            opening_of: Gives the next opening, or None where it is the sampler's turn.
        """
        misfits = known = 0
        while misfits < _PROPOSALS:
            opening = opening_of()
            asked = None if opening is None else (opening.origin, opening.answers)
            asking = self._study.ask(asked, blind=known > 0)
            plan = ask_plan(self._space, self._encoder.source, asking)
            # What an opening shows is asked for by its family, so that another's does not do.
            twin = self._study.twin(asking.number, asking.origin.family)
            if twin is not None:
                self._study.misfit(asking.number, f"the same plan as trial {twin}")
                known += opening is None
                if known == _KNOWN_IN_A_ROW:
                    progress.say("the search space is exhausted: every plan of it was tried")
                    self.is_through = True
                    return None
                continue
            try:
                self._encoder.check(plan)
            except PlanError as error:
                misfits += 1
                if misfits < _PROPOSALS:
                    self._study.misfit(asking.number, str(error))
                else:
                    self._records.fail(asking.number, error, plan, asking.origin)
                    progress.say(f"{_PROPOSALS} plans in a row do not fit; the last: {error}")
            else:
                return Proposal(asking.number, asking.origin, plan)
        return None
