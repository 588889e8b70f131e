"""How much a search tries."""

from __future__ import annotations

import time
from typing import NamedTuple


class Effort(NamedTuple):
    """How much is tried.

    Attributes:
        trials: Trials of the search in all.
        deadline: When the last one may begin, by `time.perf_counter`.
        jobs: How many are made at a time.
    """

    trials: int
    deadline: float
    jobs: int = 1

    def allows(self, begun: int) -> bool:
        """Whether another trial may begin."""
        return begun < self.trials and time.perf_counter() < self.deadline

    def shortened(self, share: float) -> Effort:
        """Return it with a share of the time that is left."""
        now = time.perf_counter()
        return self._replace(deadline=now + (self.deadline - now) * share)
