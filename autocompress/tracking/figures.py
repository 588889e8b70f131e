"""Plans and results in the form of MLflow's params and metrics."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autocompress.outcome.names import SIZE
from autocompress.structures import Priced, marker
from autocompress.tracking.yardstick import BITS

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from pydantic import BaseModel

    from autocompress.artifact import WeightReport
    from autocompress.outcome.results import Scored, SearchResult
    from autocompress.plan import CompressionPlan

_KEY_LENGTH = 250
_PARAMS_PER_BATCH = 100
_METRICS_PER_BATCH = 1000


def mlflow_key(name: str) -> str:
    """Replace the characters that MLflow forbids in the names of params and metrics."""
    return re.sub(r"[^\w\-. /:]", "_", name, flags=re.ASCII)[:_KEY_LENGTH]


def plan_params(plan: CompressionPlan, report: Iterable[WeightReport] = ()) -> dict[str, str]:
    """Flatten a plan to MLflow params.

    Args:
        plan: The plan.
        report: How the weights of its file are stored.

    Returns:
        For every entry of the plan "<entry>.structure" and "<entry>.precision", their kinds, and
        one param per hyper-parameter, such as "<entry>.rank". Where both have one of the same
        name, the precision's is "<entry>.precision.<name>". Those that the price of a bit sets
        are tiny numbers, of which the decimal logarithm is told: "<entry>.log10_slope". For
        every weight that is reported, "<weight>.bits_per_weight".
    """
    params: dict[str, str] = {}
    for entry, treatment in plan.treatments.items():
        for part, method in (
            ("structure", treatment.structure),
            ("precision", treatment.precision),
        ):
            params[mlflow_key(f"{entry}.{part}")] = method.kind
            for name, value in method.model_dump(mode="json", exclude={"kind"}).items():
                shown, text = _written(type(method), name, value)
                key = mlflow_key(f"{entry}.{shown}")
                key = mlflow_key(f"{entry}.{part}.{shown}") if key in params else key
                params[key] = text
    for line in report:
        params[mlflow_key(f"{line.name}.{BITS}")] = f"{line.bits_per_weight:.2f}"
    return params


def _written(method: type[BaseModel], name: str, value: Any) -> tuple[str, str]:
    """Return the name and the text by which a hyper-parameter is shown."""
    if isinstance(value, float) and value > 0 and marker(method, name, Priced) is not None:
        return f"log10_{name}", f"{math.log10(value):.2f}"
    return name, f"{value:.6g}" if isinstance(value, float) else str(value)


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
    for track in result.tracks if result.fine_tuned else ():
        if best := result.best_of_track(track):
            own = {SIZE: best.values[SIZE], result.metric: best.values[result.metric]}
            metrics |= {f"best_{track}_{name}": value for name, value in own.items()}
    return metrics | ({"best_rise": result.rise(result.best)} if result.best else {})


def log_metrics(
    client: MlflowClient, run_id: str, metrics: Mapping[str, float], step: int = 0
) -> None:
    """Write metrics to a run."""
    log_series(client, run_id, {name: [(step, value)] for name, value in metrics.items()})


def log_latest(client: MlflowClient, run_id: str, metrics: Mapping[str, float]) -> None:
    """Write metrics to a run that has had them before.

    MLflow shows the one of the latest time, which is to be this one, also where the clock was set
    back since.
    """
    known = [client.get_metric_history(run_id, mlflow_key(name)) for name in metrics]
    latest = max((one.timestamp for history in known for one in history), default=0)
    log_series(client, run_id, {name: [(0, value)] for name, value in metrics.items()}, latest + 1)


def log_series(
    client: MlflowClient,
    run_id: str,
    series: Mapping[str, Sequence[tuple[int, float]]],
    earliest: int = 0,
) -> None:
    """Write metrics to a run, each by steps.

    Args:
        client: Of MLflow.
        run_id: The run.
        series: By name, steps and values.
        earliest: They are said to be of now, but not of before this time, in milliseconds.
    """
    from mlflow.entities import Metric

    now = max(milliseconds(time.time()), earliest)
    entries = [
        Metric(mlflow_key(name), float(value), now, step)
        for name, points in series.items()
        for step, value in points
    ]
    for start in range(0, len(entries), _METRICS_PER_BATCH):
        client.log_batch(run_id, metrics=entries[start : start + _METRICS_PER_BATCH])


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
