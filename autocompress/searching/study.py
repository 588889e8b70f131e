"""The Optuna study behind a search: asks for plans, is told results, survives its process."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.trial import TrialState

from autocompress.errors import SearchError
from autocompress.outcome.limits import Limit, excesses
from autocompress.outcome.metric import Direction
from autocompress.outcome.origin import LAST_RESORT, SAMPLED, Aim, Origin
from autocompress.outcome.results import TrialResult
from autocompress.plan import CompressionPlan
from autocompress.searching.journal import counts, entry_of, open_journal
from autocompress.searching.ledger import ERROR, LEDGER, MISFIT, ORIGIN, PLAN, REJECTED, Ledger
from autocompress.searching.samplers import Samplers
from autocompress.searching.settings import SamplerName
from autocompress.searching.space.tables import Range, Scalar

_FAMILY, _AIM = "family", "aim"


class Known(NamedTuple):
    """What a study knows of a trial.

    Attributes:
        number: The trial's number.
        origin: What made its plan.
        answers: To the questions of the space.
        values: By objective name; none where it was rejected.
        rejected: Why it was, or None.
    """

    number: int
    origin: Origin
    answers: Mapping[str, Scalar]
    values: Mapping[str, float]
    rejected: str | None


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
        results: Sequence[TrialResult] = (),
    ) -> None:
        """Open or create the study; make it anew where its journal is lost or damaged.

        Args:
            journal: Its file.
            directions: By objective name, whether less or more of it is better.
            sampler: What proposes trials.
            seed: Of the sampler.
            limits: By objective name, what trials must keep to be feasible.
            parallel: Whether trials are asked for before others are told.
            results: Trials that are known to be finished.

        Raises:
            SearchError: If the file is of another search.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._sampler, self._seed, self._limits = sampler, seed, limits
        self._samplers, self._in_flight = Samplers(parallel=parallel), 0
        self._objectives = list(directions)
        self._ledger = Ledger(journal.with_name(LEDGER))
        origins = {
            one.number: _attributes(Origin(one.origin, one.family, one.aim)) for one in results
        }
        ways = list(directions.values())
        self._study = open_journal(journal, ways, self._ledger, origins)
        self._name_objectives()
        trials = self._study.get_trials(deepcopy=False)
        self.n_misfits = sum(MISFIT in trial.user_attrs for trial in trials)
        self.n_finished = sum(map(counts, trials)) - self.n_misfits

    def _name_objectives(self) -> None:
        """Have Optuna's own dashboard show the objectives by their names."""
        if self._study.metric_names != self._objectives:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self._study.set_metric_names(self._objectives)

    def unfinished(self) -> list[int]:
        """Return the numbers of trials that were begun and not ended."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [trial.number for trial in running]

    def begun(self) -> set[Origin]:
        """Return the origins of all trials but those that were abandoned."""
        return {
            _origin(trial.user_attrs)
            for trial in self._study.get_trials(deepcopy=False)
            if counts(trial) or not trial.state.is_finished()
        }

    def measured(self) -> Iterator[Known]:
        """Yield what is known of trials that were measured, or rejected while they were."""
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
                values = dict(zip(self._objectives, trial.values or (), strict=False))
                yield Known(
                    trial.number,
                    _origin(trial.user_attrs),
                    trial.params,
                    values,
                    trial.user_attrs.get(REJECTED),
                )

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
            is_out = trial.state is TrialState.FAIL and ERROR not in trial.user_attrs
            is_of = family is None or trial.user_attrs.get(_FAMILY) == family
            if trial.params == answers and is_of and not is_out:
                return trial.number
        return None

    def take(self, origin: Origin) -> int:
        """Begin a trial of a plan that is none of the search space; return its number."""
        trial = self._study.ask()
        for name, value in _attributes(origin).items():
            trial.set_user_attr(name, value)
        self._in_flight += 1
        return trial.number

    def tell(self, result: TrialResult) -> None:
        """End a trial with its result; plans beyond the space teach the sampler nothing."""
        if result.family == LAST_RESORT:
            self.fail(result.number, SearchError("its plan is none of the search space"))
            return
        self._constrain(result.number, excesses(result.values, self._limits), result.rejected)
        if all(name in result.values for name in self._objectives):
            values = [result.values[name] for name in self._objectives]
            self._study.tell(result.number, values)
        else:
            self._study.tell(result.number, state=TrialState.PRUNED)
        self._end(result.number)

    def reject(
        self,
        number: int,
        excesses: Mapping[str, float],
        reason: str,
        plan: CompressionPlan | None = None,
    ) -> None:
        """End a trial that was given up before there was a file.

        Args:
            number: The trial's.
            excesses: By objective, by how much its limit is missed, as far as that is known.
            reason: Why.
            plan: What it was.
        """
        self._keep_plan(number, plan)
        self._constrain(number, excesses, reason)
        self._study.tell(number, state=TrialState.PRUNED)
        self._end(number)

    def _constrain(self, number: int, excesses: Mapping[str, float], rejected: str | None) -> None:
        """Say of each limit by how much it was missed; what was not measured counts as missed."""
        trial = optuna.trial.Trial(self._study, self._trial_id(number))
        missed = {name: excesses.get(name, 1.0) for name in self._limits}
        missed[REJECTED] = 0.0 if rejected is None else 1.0
        for name in missed.keys() - trial.constraints.keys():  # a killed process may have told
            trial.set_constraint(name, missed[name])
        if rejected is not None:
            trial.set_user_attr(REJECTED, rejected)

    def _keep_plan(self, number: int, plan: CompressionPlan | None) -> None:
        """Keep what no file will tell."""
        if plan is not None:
            trial = optuna.trial.Trial(self._study, self._trial_id(number))
            trial.set_user_attr(PLAN, plan.to_json())

    def fail(self, number: int, error: Exception, plan: CompressionPlan | None = None) -> str:
        """End a trial that raised an error, keeping error and plan; return what is kept."""
        self._keep_plan(number, plan)
        trial = optuna.trial.Trial(self._study, self._trial_id(number))
        told = f"{type(error).__name__}: {error}"
        trial.set_user_attr(ERROR, told)
        self._study.tell(number, state=TrialState.FAIL)
        self._end(number)
        return told

    def misfit(self, number: int, reason: str) -> None:
        """End a proposal that does not fit the model, or is known; the next takes its place."""
        trial = optuna.trial.Trial(self._study, self._trial_id(number))
        trial.set_user_attr(MISFIT, reason)
        self._study.tell(number, state=TrialState.FAIL)
        self._enter(number)
        self._in_flight -= 1
        self.n_misfits += 1

    def _enter(self, number: int) -> None:
        self._ledger.append(entry_of(self._study.get_trials(deepcopy=False)[number]))

    def _end(self, number: int) -> None:
        self._enter(number)
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
        return self._samplers.make(kind, seed)


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
    return {ORIGIN: origin.label, _FAMILY: origin.family, _AIM: aim}


def _origin(attributes: Mapping[str, Any]) -> Origin:
    if ORIGIN not in attributes:
        return SAMPLED
    aim = attributes.get(_AIM)
    return Origin(attributes[ORIGIN], attributes.get(_FAMILY), None if aim is None else Aim(**aim))
