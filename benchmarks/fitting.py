"""The plan that a search tries first under a budget: steps of equal slope, fitted to it."""

from __future__ import annotations

from autocompress.compression import Source
from autocompress.objectives import Budget
from autocompress.plan import CompressionPlan
from autocompress.searching.space import load_space
from autocompress.searching.warm import openings


def fitted_plan(source: Source, budget: Budget) -> CompressionPlan:
    """Return the plan of equal slope, as fine as the budget allows."""
    space = load_space("size")
    ladders = tuple(uniform for uniform in space.uniform if uniform.ladder)
    # The first rung of a ladder is the finest that fits.
    return openings(space.model_copy(update={"uniform": ladders}), source, budget)[0].plan
