"""The models of a search of several, and what each trial of it is numbered by.

The trials of all models are numbered through: trial n of the k-th of N models is number n N + k.
Numbers stay what they are, whichever model gets the next trials.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autocompress.outcome.results import SearchResult

MODELS = "models"
"""The folder in which each of several models has a search of its own."""


@dataclass(frozen=True)
class Contender:
    """One of several models that are searched under one budget.

    Attributes:
        name: What it is called.
        size_bytes: Length of its file in single precision.
        n_weights: How many numbers its weights have.
        value: The task's metric on validation data, before compression.
        trials: Finished trials of it.
        left_out: Why it was given no trials, or no more; None where it was not left out.
    """

    name: str
    size_bytes: int
    n_weights: int
    value: float
    trials: int = 0
    left_out: str | None = None


def number_of(own: int, model: int, n_models: int) -> int:
    """Return the number of a model's own trial among those of all models."""
    return own * n_models + model


def own_number(number: int, n_models: int) -> tuple[int, int]:
    """Return which model a trial is of, and the number that it has there."""
    own, model = divmod(number, n_models)
    return model, own


def trial_title(result: SearchResult, number: int) -> str:
    """Name a trial by its number, as in "trial 7", and of several models also by its model."""
    if not result.models:
        return f"trial {number}"
    return f"trial {number} of {model_of_trial(result, number)}"


def model_of_trial(result: SearchResult, number: int) -> str:
    """Return which of several models a trial is of."""
    return result.models[own_number(number, len(result.models))[0]].name


def file_of_trial(result: SearchResult, number: int) -> Path:
    """Return the file of a trial, which need not be on the front, by its number."""
    baseline = result.baseline.artifact
    trials = baseline.parent.parent
    if result.models:
        model, number = own_number(number, len(result.models))
        trials = trials.parents[1] / result.models[model].name / trials.name
    return trials / f"{number:04d}" / baseline.name
