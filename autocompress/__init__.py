"""Compression search for recurrent language models, and any model of their weights.

Public names load what they need when first used: importing this package is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autocompress.artifact import Artifact, WeightReport, open_artifact
    from autocompress.compression import compress
    from autocompress.errors import AutocompressError
    from autocompress.objectives import Budget, Measured, Objective
    from autocompress.plan import CompressionPlan, Treatment
    from autocompress.results import SearchResult, TrialResult
    from autocompress.runtime import load
    from autocompress.searching.run import search
    from autocompress.task import Task

_HOMES = {
    "Artifact": "artifact",
    "AutocompressError": "errors",
    "Budget": "objectives",
    "CompressionPlan": "plan",
    "Measured": "objectives",
    "Objective": "objectives",
    "SearchResult": "results",
    "Task": "task",
    "Treatment": "plan",
    "TrialResult": "results",
    "WeightReport": "artifact",
    "compress": "compression",
    "load": "runtime",
    "open_artifact": "artifact",
    "search": "searching.run",
}

__all__ = [
    "Artifact",
    "AutocompressError",
    "Budget",
    "CompressionPlan",
    "Measured",
    "Objective",
    "SearchResult",
    "Task",
    "Treatment",
    "TrialResult",
    "WeightReport",
    "compress",
    "load",
    "open_artifact",
    "search",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'autocompress' has no attribute '{name}'")
    value = getattr(import_module(f"autocompress.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
