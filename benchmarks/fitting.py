"""The plan that a search tries first under a budget: steps of equal slope, fitted to it."""

from __future__ import annotations

from autocompress.encoding.encoder import Encoder
from autocompress.knowledge.source import Source
from autocompress.outcome.limits import Budget
from autocompress.plan import CompressionPlan
from autocompress.searching.openings.uniform import openings
from autocompress.searching.space.language import load_space


def fitted_plan(source: Source, budget: Budget) -> CompressionPlan:
    """Return the plan of equal slope, as fine as the budget allows."""
    space = load_space("size")
    ladders = tuple(uniform for uniform in space.uniform if uniform.ladder)
    space = space.model_copy(update={"uniform": ladders})
    # The first rung of a ladder is the finest that fits.
    return openings(space, Encoder(source), budget.limit_bytes)[0].plan
