"""The trials of a search as a data frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autocompress.outcome.contenders import model_of_trial
from autocompress.outcome.metric import change_of
from autocompress.outcome.names import SIZE
from autocompress.outcome.tracks import TITLES

if TYPE_CHECKING:
    import pandas as pd

    from autocompress.outcome.results import SearchResult, TrialResult


def search_frame(
    result: SearchResult, trials: Sequence[TrialResult], artifact_of: Callable[[int], Path]
) -> pd.DataFrame:
    """Return a row per finished trial, and then per fine-tuned model.

    Args:
        result: The search.
        trials: All finished trials.
        artifact_of: Gives the file of a trial by its number.
    """
    import pandas as pd

    front = {scored.trial for scored in result.front}
    rows: list[dict[str, Any]] = []
    for one in trials:
        path = artifact_of(one.number)
        marks = {"feasible": one.feasible, "front": one.number in front, "origin": one.origin}
        rows.append(
            {**_row(result, one.number, one.values, path), **marks, "seconds": one.seconds}
        )
    for scored in result.fine_tuned:
        row = _row(result, scored.trial, scored.values, scored.artifact)
        marks = {"feasible": result.keeps_limits(scored), "front": False, "origin": "fine-tuned"}
        told = {"kind": "fine-tuned", "track": TITLES[scored.track]}
        rows.append({**row, **told, **marks, "seconds": None})
    names = ["trial", *(["model"] if result.models else []), "kind", "track", SIZE]
    names += ["times_smaller", *result.directions, "rise_percent"]
    names += ["feasible", "front", "best", "origin", "seconds", "artifact"]
    return pd.DataFrame(rows, columns=list(dict.fromkeys(names)))


def _row(
    result: SearchResult, trial: int | None, values: Mapping[str, float], path: Path
) -> dict[str, Any]:
    baseline = result.baseline.values[result.metric]
    metric = values.get(result.metric)
    change = None if metric is None else 100 * change_of(metric, baseline)
    return {
        "trial": trial,
        "model": model_of_trial(result, trial) if result.models and trial is not None else None,
        "kind": "trial",
        "track": TITLES["plain"],
        **{name: values.get(name) for name in result.directions},
        "times_smaller": result.baseline.size_bytes / values[SIZE],
        "rise_percent": change,
        "best": result.best is not None and path == result.best.artifact,
        "artifact": str(path),
    }
