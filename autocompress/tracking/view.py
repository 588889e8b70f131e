"""The page of the MLflow UI that a search is browsed on: its address, and its saved view."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autocompress.outcome.names import SIZE
from autocompress.tracking.figures import mlflow_key
from autocompress.tracking.runs import PARENT
from autocompress.tracking.standing import MODEL, STANDING, TRACK
from autocompress.tracking.yardstick import BITS, RISE, SIZE_MB, TIMES_SMALLER

if TYPE_CHECKING:
    from autocompress.outcome.results import SearchResult

VIEW = "autocompress"
"""What the saved view is called where no other search lies."""
_SECTION = "autocompress"
_COMPARED = 1000  # runs in one chart
_FIRST_WIDTHS = {"attributes.`Run Name`": 175, "runDateAndNestInfo": 128}
"""Of the columns that are always there, so that others are seen on a small screen."""


def address(root: str, experiment: str, view: str = VIEW) -> str:
    """Return the page that shows the trials.

    Args:
        root: Of the server, such as "http://127.0.0.1:5000".
        experiment: Id of the experiment.
        view: Name of the saved view.
    """
    # Without a type of workflow, the UI shows an empty table of traces.
    query = f"workflowType=machine_learning&viewStateShareKey={view}"
    return f"{root}/#/experiments/{experiment}/runs?{query}"


def saved_view(
    result: SearchResult, now: int, parent: str, params: Sequence[str] = ()
) -> dict[str, Any]:
    """Describe the table and the charts of trials in the form of MLflow's own saved views.

    The addresses of the UI can name a filter and an order, but no columns and no charts.

    Args:
        result: The search.
        now: In milliseconds since the epoch.
        parent: The run of the search.
        params: Those to be shown in parallel coordinates.
    """
    columns = _columns(result)
    state = {
        "searchFilter": f"tags.`{PARENT}` = '{parent}' and attributes.status != 'KILLED'",
        "orderByKey": f"tags.`{STANDING}`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "selectedColumns": list(columns),
        "columnOrder": list(columns),
        "columnWidths": {**_FIRST_WIDTHS, **columns},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": _charts(result, params),
        "compareRunSections": [_section()],
        "isAccordionReordered": True,
    }
    view = {"name": "trials", "createdAt": now, "updatedAt": now}
    return {**view, "state": json.dumps(state)}


def _columns(result: SearchResult) -> dict[str, int]:
    """Return the columns with their widths, in pixels."""
    own = [name for name in result.directions if name not in (SIZE, result.metric)]
    figures = [SIZE_MB, TIMES_SMALLER, RISE, result.metric, f"test_{result.metric}", BITS, *own]
    metrics = {f"metrics.`{mlflow_key(name)}`": 24 + 7 * len(name) for name in figures}
    model = {f"tags.`{MODEL}`": 110} if result.models else {}
    tags = {f"tags.`{STANDING}`": 118, **model, f"tags.`{TRACK}`": 150}
    return {**tags, **metrics, "tags.`rejected`": 300}


def _section() -> dict[str, Any]:
    return {
        "uuid": _SECTION,
        "name": "Trials",
        "display": True,
        "isReordered": False,
        "deleted": False,
        "isGenerated": False,
    }


def _charts(result: SearchResult, params: Sequence[str]) -> list[dict[str, Any]]:
    metric = mlflow_key(result.metric)
    parallel = {"selectedParams": list(params), "selectedMetrics": [TIMES_SMALLER, RISE]}
    charts = [
        _scatter("front", f"times smaller and {result.metric}", TIMES_SMALLER, metric),
        {**_chart("parallel", "PARALLEL", "bits, size and rise"), **parallel},
        _scatter("size", f"size and {result.metric}", SIZE_MB, metric),
    ]
    if result.fine_tuned:
        line = {**_chart("losses", "LINE", "losses of the fine-tuning"), "xAxisKey": "step"}
        loss = "training_loss"
        charts.append({**line, "metricKey": loss, "selectedMetricKeys": [loss]})
    return charts


def _scatter(key: str, title: str, across: str, up: str) -> dict[str, Any]:
    axes = {"xaxis": {"key": across, "type": "METRIC"}, "yaxis": {"key": up, "type": "METRIC"}}
    return {**_chart(key, "SCATTER", title), **axes}


def _chart(key: str, kind: str, title: str) -> dict[str, Any]:
    return {
        "uuid": key,
        "type": kind,
        "displayName": title,
        "runsCountToCompare": _COMPARED,
        "metricSectionId": _SECTION,
        "deleted": False,
        "isGenerated": False,
    }
