"""The Optuna study behind a search: asks for plans, is told results, survives its process."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from autocompress.objectives import SIZE, Budget, Direction
from autocompress.results import TrialResult
from autocompress.searching.folder import SamplerName
from autocompress.searching.space import Range, Scalar

_ERROR = "error"
_POPULATION = 16  # small, since searches have tens to hundreds of trials


class Study:
    """The study of one search, in one file, owned by one process.

    The n-th trial depends on the seed, on n and on the trials finished before, and on nothing
    else: a search that was interrupted makes the same plans as one that was not.

    Attributes:
        n_finished: How many trials were measured, rejected or failed.
    """

    def __init__(
        self,
        journal: Path,
        directions: Mapping[str, Direction],
        sampler: SamplerName,
        seed: int,
        budget: Budget | None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._sampler, self._seed, self._budget = sampler, seed, budget
        self._objectives = list(directions)
        self._study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(journal))),
            study_name="autocompress",
            directions=list(directions.values()),
            load_if_exists=True,
        )
        self.n_finished = sum(
            trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
            or (trial.state is TrialState.FAIL and _ERROR in trial.user_attrs)
            for trial in self._study.get_trials(deepcopy=False)
        )

    def unfinished(self) -> list[int]:
        """Return the numbers of trials that were begun and not ended."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [trial.number for trial in running]

    def ask(self, first: Sequence[Mapping[str, Scalar]]) -> Asking:
        """Begin the next trial; while there are any left, with the answers of `first`."""
        self._study.sampler = self._make_sampler()
        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if self.n_finished < len(first) and not waiting:
            self._study.enqueue_trial(dict(first[self.n_finished]))
        return Asking(self._study.ask())

    def tell(self, result: TrialResult) -> None:
        """End a trial with its result; one above the budget counts as rejected."""
        trial = optuna.trial.Trial(self._study, self._trial_id(result.number))
        if self._budget is not None:
            trial.set_constraint(SIZE, self._budget.excess(result.size_bytes))
        if result.feasible:
            values = [result.values[name] for name in self._objectives]
            self._study.tell(result.number, values)
        else:
            self._study.tell(result.number, state=TrialState.PRUNED)
        self.n_finished += 1

    def fail(self, number: int, error: Exception) -> None:
        """End a trial that raised an error, keeping the error."""
        trial = optuna.trial.Trial(self._study, self._trial_id(number))
        trial.set_user_attr(_ERROR, str(error))
        self._study.tell(number, state=TrialState.FAIL)
        self.n_finished += 1

    def abandon(self, number: int) -> None:
        """End a trial that was interrupted; the next one takes its place."""
        self._study.tell(number, state=TrialState.FAIL)

    def _trial_id(self, number: int) -> int:
        return self._study.get_trials(deepcopy=False)[number]._trial_id

    def _make_sampler(self) -> optuna.samplers.BaseSampler:
        seed = int(np.random.SeedSequence([self._seed, self.n_finished]).generate_state(1)[0])
        if self._sampler == "nsga2":
            return optuna.samplers.NSGAIISampler(population_size=_POPULATION, seed=seed)
        with warnings.catch_warnings():
            # `multivariate` is documented, recommended and marked experimental.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(multivariate=True, seed=seed)


class Asking:
    """A trial that answers the questions of a search space.

    Attributes:
        number: The trial's number.
    """

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial
        self.number = trial.number

    def pick(self, name: str, options: tuple[Scalar, ...]) -> Scalar:
        """Choose one of the options."""
        choice = self._trial.suggest_categorical(name, options)
        return next(option for option in options if option == choice)

    def pick_number(self, name: str, interval: Range) -> int | float:
        """Choose a number of an interval."""
        suggest: Any = self._trial.suggest_float
        if isinstance(interval.low, int) and isinstance(interval.high, int):
            suggest = self._trial.suggest_int
        answer: int | float = suggest(name, interval.low, interval.high, log=interval.log)
        return answer
