"""Compression search for recurrent language models, and any model of their weights.

Public names load what they need when first used: importing this package is instant. The names of
a model's weights, for plans written by hand, are found by `autocompress.weights`.
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
    from autocompress.searching.search import search

_HOMES = {
    "Artifact": "artifact",
    "AutocompressError": "errors",
    "Budget": "outcome.limits",
    "CompressionPlan": "plan",
    "Measured": "outcome.measured",
    "Objective": "outcome.objectives",
    "OneShot": "searching.one_shot",
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
    "search",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'autocompress' has no attribute '{name}'")
    from autocompress.support.process import process_kept

    with process_kept():  # libraries set variables when they are imported
        value = getattr(import_module(f"autocompress.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
