"""What the trials of a search are measured against: numbers that a person compares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from autocompress.outcome.contenders import own_number
from autocompress.outcome.metric import Direction, change_of, cost
from autocompress.outcome.names import SIZE

SIZE_MB, TIMES_SMALLER, RISE, BITS = "size_MB", "times_smaller", "rise_percent", "bits_per_weight"
BEST_SO_FAR = "best_so_far"


@dataclass(frozen=True)
class Yardstick:
    """The uncompressed model, and what a search asks for.

    Attributes:
        metric: Name of the task's metric.
        directions: By objective name, whether less or more of it is better.
        baseline: The uncompressed model's values, by objective name.
        n_weights: How many weights the model has; of those that are tied, one counts.
        goal: The objective by which feasible trials are compared.
        models: Of several models the names, in the order in which trials are numbered, and how
            many weights each has.
    """

    metric: str
    directions: Mapping[str, Direction]
    baseline: Mapping[str, float]
    n_weights: int
    goal: str
    models: tuple[tuple[str, int], ...] = ()

    def model_of(self, number: int | None) -> tuple[str | None, int]:
        """Return the name of the model that a trial is of, if there are several, and its weights.

        Args:
            number: Of the trial; None is the baseline.
        """
        if number is None or not self.models:
            return None, self.n_weights
        return self.models[own_number(number, len(self.models))[0]]

    def figures(self, values: Mapping[str, float], number: int | None = None) -> dict[str, float]:
        """Return size in MB, times smaller, bits per weight, and the rise of the metric.

        Bits count the whole file. The rise is the change of the metric in percent of the
        uncompressed model's; it is left out where there is none, or where that is 0.

        Args:
            values: By objective name, as far as they were measured.
            number: Of the trial; None is the baseline.
        """
        size, (_, n_weights) = values[SIZE], self.model_of(number)
        found = {SIZE_MB: round(size / 1e6, 4), BITS: round(8 * size / n_weights, 3)}
        found[TIMES_SMALLER] = round(self.baseline[SIZE] / size, 2)
        if self.metric in values:
            rise = 100 * change_of(values[self.metric], self.baseline[self.metric])
            found |= {RISE: round(rise, 3)} if math.isfinite(rise) else {}
        return found

    @property
    def best_name(self) -> str:
        """What the best value so far is called."""
        return f"{BEST_SO_FAR}_{SIZE_MB if self.goal == SIZE else self.goal}"

    def better(self, values: Mapping[str, float], best: float | None) -> float:
        """Return the better of the best so far and of a feasible trial's value."""
        value = values[self.goal] / 1e6 if self.goal == SIZE else values[self.goal]
        way = self.directions[self.goal]
        return value if best is None or cost(value, way) < cost(best, way) else best
