"""A model made ready for compression: its tensors, and what is known of them. Plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from autocompress.errors import PlanError
from autocompress.knowledge.calibration import Calibration, calibrate
from autocompress.knowledge.guarded import guarded
from autocompress.knowledge.task import Task
from autocompress.knowledge.tensors import rounding
from autocompress.knowledge.weights import ModelWeights, Weight
from autocompress.layers.copies import plain
from autocompress.structures import Curvature, Shape, stacked_shape
from autocompress.support import progress
from autocompress.support.memory import give_back


@dataclass(frozen=True)
class Source:
    """A model made ready for compression by any number of plans.

    Attributes:
        weights: Its tensors.
        calibration: What the data tell of it.
        model_config: Description from which `autocompress.load` builds it, or None.
        assets: Files that belong into every artifact.
    """

    weights: ModelWeights
    calibration: Calibration
    model_config: Mapping[str, Any] | None = None
    assets: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module, task: Task, cache: Path | None = None) -> Source:
        """Take a model's tensors and calibrate it.

        Args:
            model: It is not changed.
            task: Knows the data.
            cache: A folder that keeps what takes long to measure, or None.

        Raises:
            ModelError: If the model cannot be compressed, such as for NaN in a weight.
            TaskError: If the task raises an exception, or gives what it must not.
        """
        task = guarded(task)
        weights = ModelWeights.of(model)  # refuses NaN first of all
        rounded = rounding(model)
        if rounded is not None:
            progress.say(rounded)
        model = plain(model)
        calibration = calibrate(model, task, cache)
        give_back()
        return cls(weights, calibration, task.model_config(model), task.assets())

    def members(self, name: str) -> tuple[Weight, ...]:
        """Return the weights that an entry of a plan treats: one, or those of a site.

        Raises:
            PlanError: If there is neither a weight nor a site of this name.
        """
        if name in self.weights.weights:
            return (self.weights.weights[name],)
        for site in self.calibration.sites:
            if site.name == name:
                return tuple(self.weights.weights[member] for member in site.members)
        known = [*self.weights.weights, *(site.name for site in self.calibration.sites)]
        raise PlanError(f"the plan treats '{name}', but the model has only: {', '.join(known)}")

    def shape(self, name: str) -> Shape:
        """Return rows and columns of the matrix that an entry of a plan treats.

        Raises:
            PlanError: If there is neither a weight nor a site of this name.
        """
        return stacked_shape([weight.values.shape for weight in self.members(name)])

    def frequencies(self, name: str) -> NDArray[np.float64] | None:
        """Return how often each row of an entry is used, or None where a member does not know."""
        found = self.calibration.row_frequencies
        known = [found.get(weight.name) for weight in self.members(name)]
        present = [frequencies for frequencies in known if frequencies is not None]
        return np.concatenate(present) if len(present) == len(known) else None

    def curvature(self, name: str) -> Curvature | None:
        """Return what errors in an entry cost, or None where a member does not know."""
        found = self.calibration.curvatures
        known = [found.get(weight.name) for weight in self.members(name)]
        present = [curvature for curvature in known if curvature is not None]
        if len(present) < len(known):
            return None
        # All members of a site multiply the same vector; taller ones know more of it.
        rows = np.concatenate([curvature.rows for curvature in present])
        widest = max(present, key=lambda curvature: curvature.moment.size)
        alike = [one.moment for one in present if one.widths == widest.widths]
        alike = [moment for moment in alike if moment.shape == widest.moment.shape]
        return replace(
            widest, rows=rows, moment=alike[0] if len(alike) == 1 else np.mean(alike, axis=0)
        )
