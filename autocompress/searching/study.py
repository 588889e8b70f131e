"""The Optuna study behind a search: asks for plans, is told results, survives its process."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from autocompress.errors import SearchError
from autocompress.outcome.limits import Limit, excesses
from autocompress.outcome.metric import Direction
from autocompress.outcome.origin import SAMPLED, Aim, Origin
from autocompress.outcome.results import TrialResult
from autocompress.searching.settings import SamplerName
from autocompress.searching.space.tables import Range, Scalar

_ERROR, _ORIGIN, _REJECTED, _MISFIT = "error", "origin", "rejected", "misfit"
_FAMILY, _AIM = "family", "aim"
_POPULATION = 16  # small, since searches have tens to hundreds of trials


class Study:
    """The study of one search, in one file, owned by one process.

    The n-th trial depends on the seed, on n and on the trials finished before, and on nothing
    else: a search that was interrupted makes the same plans as one that was not.

    Attributes:
        n_finished: How many trials were measured, rejected or failed.
        n_misfits: How many proposals did not fit, or were known already; they are no trials.
    """

    def __init__(
        self,
        journal: Path,
        directions: Mapping[str, Direction],
        sampler: SamplerName,
        seed: int,
        limits: Mapping[str, Limit],
        *,
        parallel: bool = False,
    ) -> None:
        """Open or create the study.

        Args:
            journal: Its file.
            directions: By objective name, whether less or more of it is better.
            sampler: What proposes trials.
            seed: Of the sampler.
            limits: By objective name, what trials must keep to be feasible.
            parallel: Whether trials are asked for before others are told.

        Raises:
            SearchError: If the file is damaged.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._sampler, self._seed, self._limits = sampler, seed, limits
        self._parallel, self._in_flight = parallel, 0
        self._objectives = list(directions)
        self._study = _opened(journal, list(directions.values()))
        self.n_finished = sum(
            trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
            or (trial.state is TrialState.FAIL and _ERROR in trial.user_attrs)
            for trial in self._study.get_trials(deepcopy=False)
        )
        self.n_misfits = sum(
            _MISFIT in trial.user_attrs for trial in self._study.get_trials(deepcopy=False)
        )

    @property
    def n_begun(self) -> int:
        """How many trials were begun, whatever has become of them."""
        return len(self._study.get_trials(deepcopy=False))

    def unfinished(self) -> list[int]:
        """Return the numbers of trials that were begun and not ended."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [trial.number for trial in running]

    def begun(self) -> set[Origin]:
        """Return the origins of all trials but those that were abandoned."""
        return {
            _origin(trial.user_attrs)
            for trial in self._study.get_trials(deepcopy=False)
            if trial.state is not TrialState.FAIL
            or _ERROR in trial.user_attrs
            or _MISFIT in trial.user_attrs
        }

    def ask(
        self, opening: tuple[Origin, Mapping[str, Scalar]] | None = None, *, blind: bool = False
    ) -> Asking:
        """Begin the next trial: an opening, by its origin and answers, or as the sampler says.

        Args:
            opening: What the trial is, or None where it is the sampler's turn.
            blind: Whether the sampler is to draw at random, whatever it has learnt.
        """
        self._study.sampler = self._make_sampler("random" if blind else self._sampler)
        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if opening is not None and not waiting:
            origin, answers = opening
            self._study.enqueue_trial(dict(answers), user_attrs=_attributes(origin))
        self._in_flight += 1
        return Asking(self._study.ask())

    def twin(self, number: int, family: str | None) -> int | None:
        """Return an earlier trial with the same answers, whatever has become of it, or None.

        What was abandoned, or did not fit, is none.

        Args:
            number: The trial's.
            family: Of the earlier trial, or None where any will do.
        """
        trials = self._study.get_trials(deepcopy=False)
        answers = trials[number].params
        for trial in trials[:number]:
            is_out = trial.state is TrialState.FAIL and _ERROR not in trial.user_attrs
            is_of = family is None or trial.user_attrs.get(_FAMILY) == family
            if trial.params == answers and is_of and not is_out:
                return trial.number
        return None

    def tell(self, result: TrialResult) -> None:
        """End a trial with its result."""
        self._constrain(result.number, excesses(result.values, self._limits), result.rejected)
        if all(name in result.values for name in self._objectives):
            values = [result.values[name] for name in self._objectives]
            self._study.tell(result.number, values)
        else:
            self._study.tell(result.number, state=TrialState.PRUNED)
        self._end()

    def reject(self, number: int, excesses: Mapping[str, float], reason: str) -> None:
        """End a trial that was given up before there was a file.

        Args:
            number: The trial's.
            excesses: By objective, by how much its limit is missed, as far as that is known.
            reason: Why.
        """
        self._constrain(number, excesses, reason)
        self._study.tell(number, state=TrialState.PRUNED)
        self._end()

    def _constrain(self, number: int, excesses: Mapping[str, float], rejected: str | None) -> None:
        """Say of each limit by how much it was missed; what was not measured counts as missed."""
        trial = optuna.trial.Trial(self._study, self._trial_id(number))
        for name in self._limits:
            trial.set_constraint(name, excesses.get(name, 1.0))
        trial.set_constraint(_REJECTED, 0.0 if rejected is None else 1.0)
        if rejected is not None:
            trial.set_user_attr(_REJECTED, rejected)

    def fail(self, number: int, error: Exception) -> None:
        """End a trial that raised an error, keeping the error."""
        trial = optuna.trial.Trial(self._study, self._trial_id(number))
        trial.set_user_attr(_ERROR, f"{type(error).__name__}: {error}")
        self._study.tell(number, state=TrialState.FAIL)
        self._end()

    def misfit(self, number: int, reason: str) -> None:
        """End a proposal that does not fit the model, or is known; the next takes its place."""
        trial = optuna.trial.Trial(self._study, self._trial_id(number))
        trial.set_user_attr(_MISFIT, reason)
        self._study.tell(number, state=TrialState.FAIL)
        self._in_flight -= 1
        self.n_misfits += 1

    def _end(self) -> None:
        self.n_finished += 1
        self._in_flight = max(self._in_flight - 1, 0)

    def abandon(self, number: int) -> None:
        """End a trial that was interrupted; the next one takes its place."""
        self._study.tell(number, state=TrialState.FAIL)

    def _trial_id(self, number: int) -> int:
        return self._study.get_trials(deepcopy=False)[number]._trial_id

    def _make_sampler(self, kind: SamplerName) -> optuna.samplers.BaseSampler:
        asked = self.n_finished + self._in_flight + self.n_misfits
        seed = int(np.random.SeedSequence([self._seed, asked]).generate_state(1)[0])
        if kind == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        if kind == "nsga2":
            return optuna.samplers.NSGAIISampler(population_size=_POPULATION, seed=seed)
        with warnings.catch_warnings():
            # `multivariate` is documented, recommended and marked experimental.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(
                multivariate=True, constant_liar=self._parallel, seed=seed
            )


def _opened(journal: Path, directions: list[Direction]) -> optuna.Study:
    """Open or create a study, without the part of a line that a power cut may have left."""
    if journal.exists():
        content = journal.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(journal, whole)
    try:
        return optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(journal))),
            study_name="autocompress",
            directions=list(directions),
            load_if_exists=True,
        )
    except (json.JSONDecodeError, AssertionError, KeyError) as error:
        raise SearchError(
            f"'{journal}' is damaged ({type(error).__name__}: {error}); restore it from a copy, "
            "or choose another --out to search anew"
        ) from error


class Asking:
    """A trial that answers the questions of a search space.

    Attributes:
        number: The trial's number.
        origin: What made the plan: the sampler, or the opening that it is.
    """

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial
        self.number = trial.number
        self.origin = _origin(trial.user_attrs)

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


def _attributes(origin: Origin) -> dict[str, Any]:
    aim = None if origin.aim is None else asdict(origin.aim)
    return {_ORIGIN: origin.label, _FAMILY: origin.family, _AIM: aim}


def _origin(attributes: Mapping[str, Any]) -> Origin:
    if _ORIGIN not in attributes:
        return SAMPLED
    aim = attributes.get(_AIM)
    return Origin(
        attributes[_ORIGIN], attributes.get(_FAMILY), None if aim is None else Aim(**aim)
    )
