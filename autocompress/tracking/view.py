"""Pages of the MLflow UI, and the saved view that they lead to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autocompress.outcome.names import SIZE
from autocompress.tracking.figures import mlflow_key

if TYPE_CHECKING:
    from autocompress.outcome.results import SearchResult

VIEW = "autocompress"
_FINISHED_TRIALS = f"metrics.{SIZE} > 0 and attributes.status = 'FINISHED'"


@dataclass(frozen=True)
class Links:
    """Pages of the MLflow UI.

    Attributes:
        runs: The table of finished trials, best metric first.
        picture: The front's picture, among the files of the search.
        compare: The trials of the front side by side; None while the front is empty.
    """

    runs: str
    picture: str
    compare: str | None


def saved_view(result: SearchResult, now: int) -> dict[str, Any]:
    """Describe the table of trials in the form of MLflow's own saved views.

    The addresses of the UI can name a filter and an order, but no columns; a saved view can.
    """
    names = [*result.directions, f"test_{result.metric}"]
    columns = [f"metrics.`{mlflow_key(name)}`" for name in names] + ["tags.`front`", "tags.`best`"]
    state = {
        "searchFilter": _FINISHED_TRIALS,
        "orderByKey": f"metrics.`{mlflow_key(result.metric)}`",
        "orderByAsc": result.directions[result.metric] == "minimize",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "selectedColumns": columns,
        "columnOrder": columns,
        "runsHiddenMode": "SHOW_ALL",
    }
    view = {"name": "trials", "createdAt": now, "updatedAt": now}
    return {**view, "state": json.dumps(state)}
