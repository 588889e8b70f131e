"""What proposes trials: a sampler of Optuna, made anew for each of them.

A sampler made anew has drawn nothing yet, so that what it proposes depends on its seed and on the
trials before, and not on what the process has done. What it would have to learn from all trials
again each time is kept.
"""

from __future__ import annotations

import warnings

import optuna
from optuna.distributions import BaseDistribution
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial

from autocompress.searching.settings import SamplerName

_POPULATION = 16  # small, since searches have tens to hundreds of trials


class Samplers:
    """Makes the samplers of one study."""

    def __init__(self, *, parallel: bool) -> None:
        """Begin.

        Args:
            parallel: Whether trials are asked for before others are told.
        """
        self._parallel = parallel
        self._common = {
            "tpe": IntersectionSearchSpace(include_pruned=True),
            "nsga2": IntersectionSearchSpace(),
        }

    def make(self, kind: SamplerName, seed: int) -> optuna.samplers.BaseSampler:
        """Return a sampler that has drawn nothing yet."""
        if kind == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        if kind == "nsga2":
            genetic = _Genetic(population_size=_POPULATION, seed=seed)
            genetic.common = self._common[kind]
            return genetic
        with warnings.catch_warnings():
            # `multivariate` is documented, recommended and marked experimental.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            tpe = _Tpe(multivariate=True, constant_liar=self._parallel, seed=seed)
        tpe.common = self._common[kind]
        return tpe


class _Knowing(optuna.samplers.BaseSampler):
    """Knows from its predecessors which questions all trials have answered."""

    common: IntersectionSearchSpace

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return what is drawn together: the questions that all trials have answered."""
        del trial
        common = self.common.calculate(study).items()
        return {name: kind for name, kind in common if not kind.single()}


class _Tpe(_Knowing, optuna.samplers.TPESampler):
    """Optuna's, with that."""


class _Genetic(_Knowing, optuna.samplers.NSGAIISampler):
    """Optuna's, with that."""
