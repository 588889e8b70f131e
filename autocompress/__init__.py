"""Compression search for recurrent language models, and any model of their weights.

    search              from a model, a task and limits to the best plan and the front
    open_search         a search's folder, as a result again: page, data frame, pictures
    compress_to_budget  one file for a budget, without a search
    compress            one plan, carried out into a file
    load                the model of a file, ready to run
    open_artifact       what a file holds, weight by weight
    load_checkpoint     weights as people have them, into a model

A `Task` says what a good model is, an `Objective` is a further number to search by, a
`CompressionPlan` says how each weight is stored; `autocompress.weights` finds the names of a
model's weights for plans written by hand. What users can mend is an `AutocompressError`.

Public names load what they need when first used: importing this package is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autocompress.artifact import Artifact, WeightReport, open_artifact
    from autocompress.checkpoints import load_checkpoint
    from autocompress.encoding.compress import compress
    from autocompress.engines.torch import load
    from autocompress.errors import AutocompressError
    from autocompress.knowledge.task import Task
    from autocompress.outcome.limits import Budget
    from autocompress.outcome.measured import Measured
    from autocompress.outcome.objectives import Objective
    from autocompress.outcome.results import SearchResult, TrialResult
    from autocompress.plan import CompressionPlan, Treatment
    from autocompress.searching.one_shot import OneShot, compress_to_budget
    from autocompress.searching.opened import OpenedSearch, open_search
    from autocompress.searching.search import search

_HOMES = {
    "Artifact": "artifact",
    "AutocompressError": "errors",
    "Budget": "outcome.limits",
    "CompressionPlan": "plan",
    "Measured": "outcome.measured",
    "Objective": "outcome.objectives",
    "OneShot": "searching.one_shot",
    "OpenedSearch": "searching.opened",
    "SearchResult": "outcome.results",
    "Task": "knowledge.task",
    "Treatment": "plan",
    "TrialResult": "outcome.results",
    "WeightReport": "artifact",
    "compress": "encoding.compress",
    "compress_to_budget": "searching.one_shot",
    "load": "engines.torch",
    "load_checkpoint": "checkpoints",
    "open_artifact": "artifact",
    "open_search": "searching.opened",
    "search": "searching.search",
}

__all__ = [
    "Artifact",
    "AutocompressError",
    "Budget",
    "CompressionPlan",
    "Measured",
    "Objective",
    "OneShot",
    "OpenedSearch",
    "SearchResult",
    "Task",
    "Treatment",
    "TrialResult",
    "WeightReport",
    "compress",
    "compress_to_budget",
    "load",
    "load_checkpoint",
    "open_artifact",
    "open_search",
    "search",
]


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__", "weights"})


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("autocompress")
    if name not in _HOMES:
        raise AttributeError(f"module 'autocompress' has no attribute '{name}'")
    from autocompress.support.process import process_kept

    with process_kept():  # libraries set variables when they are imported
        value = getattr(import_module(f"autocompress.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
