"""Optuna's journal of a study: opened, mended, and made anew where it is lost or damaged."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, TrialState

from autocompress.errors import SearchError
from autocompress.outcome.metric import Direction
from autocompress.searching.ledger import ERROR, MISFIT, Entry, Ledger
from autocompress.support import progress
from autocompress.support.files import flush_folder, put_aside, truncate, write_whole

# Optuna replays what it reads, and checks nothing.
_REPLAYING = (OSError, ValueError, TypeError, LookupError, AttributeError, AssertionError)
LOST = "what was asked was lost with the journal"


class _Unlocked(JournalFileSymlinkLock):
    """Locks nothing: the folder has one owner, and a lock would outlive it when it is killed."""

    def acquire(self) -> bool:
        """Take the lock."""
        return True

    def release(self) -> None:
        """Give it back."""


def open_journal(
    journal: Path,
    directions: Sequence[Direction],
    ledger: Ledger,
    attributes: Mapping[int, Mapping[str, Any]],
) -> optuna.Study:
    """Open or create a study, and make it anew where the journal lacks what others know.

    Args:
        journal: Its file.
        directions: Of its objectives.
        ledger: What is known of ended trials; brought to agree with the journal.
        attributes: By number, what says where the plans of measured trials came from.

    Raises:
        SearchError: If the study is one of other objectives.
    """
    known, damaged = ledger.entries(), False
    try:
        _cut_broken_line(journal)
        study = _opened(journal, directions)
        trials = study.get_trials(deepcopy=False)
    except _REPLAYING as error:
        put_aside(journal, error)
        trials, damaged = [], True
    needed = 1 + max([-1, *known, *attributes])
    if damaged or needed > len(trials):
        if not damaged:
            progress.say(f"'{journal}' lacks trials that lie in the folder: made anew")
        study = _rebuilt(journal, directions, [*trials], known, attributes)
        trials = study.get_trials(deepcopy=False)
    if [way.name.lower() for way in study.directions] != list(directions):
        raise SearchError(f"'{journal}' is of a search with other objectives; delete it")
    ended = {trial.number: entry_of(trial) for trial in trials if counts(trial)}
    if ended.keys() != known.keys():
        ledger.replace(ended.values())
    return study


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial has ended, and was not merely abandoned."""
    if trial.state is TrialState.FAIL:
        return ERROR in trial.user_attrs or MISFIT in trial.user_attrs
    return trial.state.is_finished()


def entry_of(trial: FrozenTrial) -> Entry:
    """Return what the ledger says of a trial."""
    kinds = {name: json.loads(distribution_to_json(d)) for name, d in trial.distributions.items()}
    return {
        "number": trial.number,
        "state": trial.state.name,
        "values": trial.values,
        "params": trial.params,
        "distributions": kinds,
        "user_attrs": trial.user_attrs,
        "system_attrs": trial.system_attrs,
    }


def _trial_of(entry: Entry) -> FrozenTrial:
    kinds = {
        name: json_to_distribution(json.dumps(kind))
        for name, kind in entry["distributions"].items()
    }
    return optuna.trial.create_trial(
        state=TrialState[entry["state"]],
        values=entry["values"],
        params=dict(entry["params"]),
        distributions=kinds,
        user_attrs=dict(entry["user_attrs"]),
        system_attrs=dict(entry["system_attrs"]),
    )


def _rebuilt(
    journal: Path,
    directions: Sequence[Direction],
    trials: list[FrozenTrial],
    known: Mapping[int, Entry],
    attributes: Mapping[int, Mapping[str, Any]],
) -> optuna.Study:
    """Make a journal in which every trial has its number."""
    write_whole(journal, lambda path: _fill(_opened(path, directions), trials, known, attributes))
    return _opened(journal, directions)


def _fill(
    study: optuna.Study,
    trials: list[FrozenTrial],
    known: Mapping[int, Entry],
    attributes: Mapping[int, Mapping[str, Any]],
) -> None:
    for number in range(1 + max([len(trials) - 1, *known, *attributes])):
        if number < len(trials) and counts(trials[number]):
            study.add_trial(trials[number])
        elif number in known:
            study.add_trial(_trial_of(known[number]))
        else:  # lost, or abandoned: it teaches the sampler nothing
            found = attributes.get(number)
            attrs = {} if found is None else {**found, ERROR: LOST}
            study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL, user_attrs=attrs))


def _opened(journal: Path, directions: Sequence[Direction]) -> optuna.Study:
    is_new = not journal.exists()
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal), lock_obj=_Unlocked(str(journal)))),
        study_name="autocompress",
        directions=list(directions),
        load_if_exists=True,
    )
    if is_new:
        flush_folder(journal.parent)
    return study


def _cut_broken_line(journal: Path) -> None:
    """Cut off the part of a line that a power cut or a full disk has left."""
    if not journal.exists():
        return
    content = journal.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        truncate(journal, whole)
