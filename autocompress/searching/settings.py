"""What a search is about, as its folder says."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from autocompress.outcome.limits import (
    Limit,
    Rise,
    asked_limits,
    format_bytes,
    parse_latency,
    parse_rise,
)
from autocompress.outcome.metric import Direction
from autocompress.outcome.names import LATENCY

SamplerName = Literal["tpe", "nsga2", "random"]

LAYOUT = 2
"""Of the folder: in layout 1, the openings of a search were told apart by their labels."""


class Settings(BaseModel):
    """What a search is about. A folder is only ever continued with equal settings.

    Attributes:
        name: What is compressed.
        metric: Name of the task's metric.
        directions: By objective name, whether less or more of it is better.
        budget_bytes: The limit on the size, or None.
        sampler: Optuna sampler.
        seed: Seed of the sampler.
        model: Hash of the model.
        data: Fingerprint of the task's data.
        space: Hash of the search space.
        max_rise: How much worse the metric may become: a share of the baseline, a text such as
            "+0.02" in its own unit, or None.
        limits: Bounds on further objectives, by name.
        latency_budget: The limit on the latency, as in "0.25x", or None.
        layout: Version of the layout of the folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    metric: str
    directions: dict[str, Direction]
    budget_bytes: int | None
    sampler: SamplerName
    seed: int
    model: str
    data: str
    space: str
    max_rise: Rise | None = None
    limits: dict[str, float] = {}
    latency_budget: str | None = None
    layout: int = 1

    @property
    def asked(self) -> dict[str, Limit]:
        """All limits by the names of their objectives, as they were asked for."""
        limits = asked_limits(
            self.directions, self.metric, self.budget_bytes, self.max_rise, self.limits
        )
        if self.latency_budget is not None:
            limits[LATENCY] = parse_latency(self.latency_budget)
        return limits

    def described(self) -> dict[str, str]:
        """Return the parameters of the search as MLflow shows them."""
        budget = self.budget_bytes
        return {
            "budget": format_bytes(budget) if budget else "none",
            "max_rise": "none" if self.max_rise is None else str(parse_rise(self.max_rise)),
            "objectives": ", ".join(self.directions),
            "sampler": self.sampler,
            "seed": str(self.seed),
            "model": self.model[:16],
        }
