"""Plans and results in the form of MLflow's params and metrics."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from autocompress.outcome.results import Scored, SearchResult

_KEY_LENGTH = 250
_PARAMS_PER_BATCH = 100


def mlflow_key(name: str) -> str:
    """Replace the characters that MLflow forbids in the names of params and metrics."""
    return re.sub(r"[^\w\-. /:]", "_", name, flags=re.ASCII)[:_KEY_LENGTH]


def plan_params(plan: Mapping[str, Any]) -> dict[str, str]:
    """Flatten a plan's JSON object to MLflow params.

    Returns:
        For every weight "<weight>.structure" and "<weight>.precision", their kinds, and one
        entry per hyper-parameter, such as "<weight>.rank". Where both have one of the same name,
        the precision's is "<weight>.precision.<name>".
    """
    params: dict[str, str] = {}
    for weight, treatment in plan["treatments"].items():
        for part in ("structure", "precision"):
            params[mlflow_key(f"{weight}.{part}")] = treatment[part]["kind"]
            for name, value in treatment[part].items():
                key = mlflow_key(f"{weight}.{name}")
                if name != "kind":
                    key = mlflow_key(f"{weight}.{part}.{name}") if key in params else key
                    params[key] = f"{value:.6g}" if isinstance(value, float) else str(value)
    return params


def held_out_metric(prefix: str, scored: Scored, metric: str) -> dict[str, float]:
    """Return the metric on test data under its name, if it was measured."""
    return {} if scored.test is None else {f"{prefix}test_{metric}": scored.test}


def search_metrics(result: SearchResult) -> dict[str, float]:
    """Return the figures of a whole search."""
    metrics: dict[str, float] = {"trials": result.trials, "seconds": result.seconds}
    scored = {"baseline_": result.baseline, "best_": result.best}
    for prefix, entry in scored.items():
        if entry:
            metrics |= {f"{prefix}{name}": value for name, value in entry.values.items()}
            metrics |= held_out_metric(prefix, entry, result.metric)
    return metrics | ({"best_rise": result.rise(result.best)} if result.best else {})


def log_metrics(client: MlflowClient, run_id: str, metrics: Mapping[str, float]) -> None:
    """Write metrics to a run."""
    from mlflow.entities import Metric

    now = milliseconds(time.time())
    entries = [Metric(mlflow_key(name), float(value), now, 0) for name, value in metrics.items()]
    client.log_batch(run_id, metrics=entries)


def log_params(client: MlflowClient, run_id: str, params: Mapping[str, str]) -> None:
    """Write params to a run, however many they are."""
    from mlflow.entities import Param

    entries = [Param(key, text) for key, text in params.items()]
    for start in range(0, len(entries), _PARAMS_PER_BATCH):
        client.log_batch(run_id, params=entries[start : start + _PARAMS_PER_BATCH])


def milliseconds(seconds: float) -> int:
    """Return a time as MLflow writes it."""
    return int(seconds * 1000)


def truth(value: bool) -> str:
    """Return a truth as the text of a tag."""
    return "true" if value else "false"
