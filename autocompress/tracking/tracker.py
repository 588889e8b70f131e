"""MLflow: one parent run for a search, one child run for every finished trial.

All of it lies in the search's folder, and nothing leaves the machine. MLflow is imported when a
`Tracker` is made and not before, since that takes seconds.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from autocompress.artifact import open_artifact
from autocompress.errors import SearchError
from autocompress.outcome.names import SIZE

if TYPE_CHECKING:
    from mlflow.entities import Run

    from autocompress.outcome.results import Scored, SearchResult, TrialResult
    from autocompress.plan import CompressionPlan

EXPERIMENT = "autocompress"
_PARENT = "mlflow.parentRunId"
_SEARCH = "autocompress.search"
_TRIAL = "autocompress.trial"
_RECOVERED = "autocompress.recovered"
_VIEW = "autocompress"
_FINISHED_TRIALS = f"metrics.{SIZE} > 0 and attributes.status = 'FINISHED'"
_PARAMS_PER_BATCH = 100
_RUNS_PER_SEARCH = 50_000
_KEY_LENGTH = 250
# MLflow reports its use over the network, logs every migration of a new database, and logs the
# stack of each error that it raises as well.
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "CRITICAL"}


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


class Tracker:
    """Writes a search to an MLflow database in its folder. One process at a time may own it.

    A trial's run is created, filled, and only then marked as finished. Whatever a killed process
    left half-written is therefore told apart by its status, and `reconcile` repairs it.
    """

    def __init__(self, out: Path, name: str, params: Mapping[str, str]) -> None:
        """Open or create the database, and start or continue the search's parent run.

        Args:
            out: The search's folder.
            name: The search's name; the parent run of this name is continued.
            params: What the search was started with. MLflow never changes a param, so one that
                differs when the search is continued is recorded as a tag "continued.<param>".

        Raises:
            SearchError: If the database cannot be opened or written.
        """
        self._out = out.resolve()
        with _mlflow_errors("open its database"):
            # MLflow retries for minutes when a file is unusable; sqlite says so at once.
            self._out.mkdir(parents=True, exist_ok=True)
            _check_database(self._out / "mlflow.db")
            from mlflow import MlflowClient

            self._client = MlflowClient(tracking_uri=_database_uri(self._out))
            self._experiment = self._open_experiment()
            self._parent = self._open_parent(name, params)

    def reconcile(
        self, results: Sequence[TrialResult], artifact_of: Callable[[int], Path]
    ) -> None:
        """Repair what a killed process left: one finished run per finished trial, no other.

        Args:
            results: All finished trials.
            artifact_of: Gives the file of a trial by its number.

        Raises:
            SearchError: If MLflow fails.
        """
        missing = {result.number: result for result in results}
        with _mlflow_errors("repair the runs of the search"):
            for run in self._children():
                finished = run.info.status == "FINISHED"
                if finished and missing.pop(_trial_of(run), None) is not None:
                    continue
                if run.info.status != "KILLED":
                    self._client.set_terminated(run.info.run_id, "KILLED")
        for result in missing.values():
            self.log_trial(result, artifact_of(result.number))

    def log_trial(self, result: TrialResult, artifact: Path) -> None:
        """Write a finished trial as a child run, with its plan and its file.

        Args:
            result: The trial.
            artifact: Its file, which is copied.

        Raises:
            SearchError: If MLflow fails.
        """
        with _mlflow_errors(f"log trial {result.number}"):
            run_id = self._start_trial(result)
            metrics = {**result.values, "seconds": result.seconds}
            metrics["cpu_seconds"] = result.cpu_seconds
            if result.predicted is not None:
                metrics["predicted_loss_rise"] = result.predicted
            self._log_metrics(run_id, metrics)
            self._log_plan(run_id, result.plan)
            self._client.log_artifact(run_id, str(artifact))
            end = _milliseconds(result.started + result.seconds)
            self._client.set_terminated(run_id, "FINISHED", end)

    def log_front(self, result: SearchResult, files: Sequence[Path]) -> None:
        """Mark the front and the best trial, and put the figures of the search on its run.

        The best trial gets its exported model as well.

        Args:
            result: The search; marks that no longer hold are taken back.
            files: Files to store with the search, such as its picture.

        Raises:
            SearchError: If MLflow fails.
        """
        front = {scored.trial: scored for scored in result.front}
        best = next((one.trial for one in result.front if one == result.best), None)
        with _mlflow_errors("log the front"):
            for run in self._children("attributes.status = 'FINISHED'"):
                number = _trial_of(run)
                self._mark(run, {"front": number in front, "best": number == best})
                if number in front:
                    test = _test_metric("", front[number], result.metric)
                    self._log_metrics(run.info.run_id, test)
                if number == best:
                    self._log_onnx(run.info.run_id, front[number])
            self._log_metrics(self._parent, _search_metrics(result))
            for file in files:
                self._client.log_artifact(self._parent, str(file))
            self._save_view(result)

    def log_recovered(self, result: SearchResult, scored: Scored) -> None:
        """Write a fine-tuned model as a child run with its plan, once; mark it if it is the best.

        Args:
            result: The search.
            scored: Its numbers and its file; the name of the file's folder names the run.

        Raises:
            SearchError: If MLflow fails.
            ArtifactError: If the file is damaged.
        """
        name = scored.artifact.parent.name
        with _mlflow_errors(f"log {name}"):
            parent = f"tags.`{_PARENT}` = '{self._parent}'"
            for run in self._search(f"{parent} and tags.`{_RECOVERED}` = '{name}'"):
                if run.info.status == "FINISHED":
                    self._mark(run, {"best": scored == result.best})
                    return
                self._client.set_terminated(run.info.run_id, "KILLED")
            tags = {_PARENT: self._parent, _RECOVERED: name, "of_trial": str(scored.trial)}
            started = self._client.create_run(self._experiment, tags=tags, run_name=name)
            run_id = str(started.info.run_id)
            self._mark(started, {"best": scored == result.best})
            test = _test_metric("", scored, result.metric)
            self._log_metrics(run_id, {**scored.values, **test})
            self._log_plan(run_id, open_artifact(scored.artifact).plan)
            self._client.log_artifact(run_id, str(scored.artifact))
            self._log_onnx(run_id, scored)
            self._client.set_terminated(run_id, "FINISHED")

    def end(self, status: Literal["FINISHED", "KILLED", "FAILED"]) -> None:
        """Mark the search as ended; opening its folder again continues it."""
        with _mlflow_errors("end the run of the search"):
            self._client.set_terminated(self._parent, status)

    def links(self, port: int = 5000) -> Links:
        """Return the pages to look at, as a server on this port shows them."""
        with _mlflow_errors("find the runs of the front"):
            front = self._children("tags.front = 'true' and attributes.status = 'FINISHED'")
        root = f"http://127.0.0.1:{port}/#"
        runs = f"{root}/experiments/{self._experiment}/runs"
        ids = quote(json.dumps([run.info.run_id for run in front]))
        experiments = quote(json.dumps([self._experiment]))
        compare = f"{root}/compare-runs?runs={ids}&experiments={experiments}"
        return Links(
            runs=f"{runs}?viewStateShareKey={_VIEW}",
            picture=f"{runs}/{self._parent}/artifacts/front.png",
            compare=compare if front else None,
        )

    def _open_experiment(self) -> str:
        if known := self._client.get_experiment_by_name(EXPERIMENT):
            return str(known.experiment_id)
        # The UI asks every visitor for the kind of an experiment that does not name it.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        location = (self._out / "mlartifacts").as_uri()
        return str(self._client.create_experiment(EXPERIMENT, location, tags))

    def _open_parent(self, name: str, params: Mapping[str, str]) -> str:
        searches = self._search(f"tags.`{_SEARCH}` != ''")
        known = next((run for run in searches if run.data.tags[_SEARCH] == name), None)
        if known is None:
            tags = {_SEARCH: name}
            run = self._client.create_run(self._experiment, tags=tags, run_name=name)
            self._log_params(run.info.run_id, {_key(key): text for key, text in params.items()})
            return str(run.info.run_id)
        self._client.update_run(known.info.run_id, "RUNNING")
        self._continue_params(known, params)
        return str(known.info.run_id)

    def _continue_params(self, parent: Run, params: Mapping[str, str]) -> None:
        before = parent.data.params
        wanted = {_key(key): text for key, text in params.items()}
        self._log_params(
            parent.info.run_id, {key: text for key, text in wanted.items() if key not in before}
        )
        for key, text in wanted.items():
            if before.get(key, text) != text:
                self._client.set_tag(parent.info.run_id, f"continued.{key}", text)

    def _search(self, condition: str) -> list[Run]:
        return list(self._client.search_runs([self._experiment], condition, 1, _RUNS_PER_SEARCH))

    def _children(self, condition: str | None = None) -> list[Run]:
        trials = f"tags.`{_PARENT}` = '{self._parent}' and tags.`{_TRIAL}` != ''"
        return self._search(f"{trials} and {condition}" if condition else trials)

    def _start_trial(self, result: TrialResult) -> str:
        tags = {
            _PARENT: self._parent,
            _TRIAL: str(result.number),
            "feasible": _truth(result.feasible),
            "front": _truth(False),
            "origin": result.origin,
            "rejected": result.rejected or "no",
        }
        run = self._client.create_run(
            self._experiment, _milliseconds(result.started), tags, f"trial-{result.number:04d}"
        )
        return str(run.info.run_id)

    def _log_onnx(self, run_id: str, scored: Scored) -> None:
        """Copy the exported model, if there is one, to the run."""
        if scored.onnx is not None:
            self._client.log_artifact(run_id, str(scored.onnx))

    def _mark(self, run: Run, marks: Mapping[str, bool]) -> None:
        for key, holds in marks.items():
            if run.data.tags.get(key, _truth(False)) != _truth(holds):
                self._client.set_tag(run.info.run_id, key, _truth(holds))

    def _log_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = _milliseconds(time.time())
        entries = [Metric(_key(name), float(value), now, 0) for name, value in metrics.items()]
        self._client.log_batch(run_id, metrics=entries)

    def _log_plan(self, run_id: str, plan: CompressionPlan) -> None:
        document = plan.to_json()
        self._log_params(run_id, plan_params(document))
        self._client.log_text(run_id, json.dumps(document, indent=2), "plan.json")

    def _log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        entries = [Param(key, text) for key, text in params.items()]
        for start in range(0, len(entries), _PARAMS_PER_BATCH):
            self._client.log_batch(run_id, params=entries[start : start + _PARAMS_PER_BATCH])

    def _save_view(self, result: SearchResult) -> None:
        """Store the columns and the order of the table that `links` leads to."""
        view = json.dumps(_saved_view(result, _milliseconds(time.time())))
        key = f"mlflow.sharedViewState.{_VIEW}"
        self._client.set_experiment_tag(self._experiment, key, view)


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
            params[_key(f"{weight}.{part}")] = treatment[part]["kind"]
            for name, value in treatment[part].items():
                key = _key(f"{weight}.{name}")
                if name != "kind":
                    key = _key(f"{weight}.{part}.{name}") if key in params else key
                    params[key] = f"{value:.6g}" if isinstance(value, float) else str(value)
    return params


def server_command(out: Path, port: int) -> list[str]:
    """Return the command line that shows a search's folder in the MLflow UI on this machine."""
    out = out.resolve()
    options = {
        "--backend-store-uri": _database_uri(out),
        "--artifacts-destination": str(out / "mlartifacts"),
        "--host": "127.0.0.1",
        "--port": str(port),
        "--workers": "1",
    }
    words = [word for option in options.items() for word in option]
    return [sys.executable, "-m", "mlflow", "server", *words]


def server_environment() -> dict[str, str]:
    """Return the environment to start that server with: it reports nothing over the network."""
    return {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}


def _database_uri(out: Path) -> str:
    return f"sqlite:///{out / 'mlflow.db'}"


def _check_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA user_version").fetchone()
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()
    finally:
        connection.close()


@contextmanager
def _mlflow_errors(action: str) -> Iterator[None]:
    """Turn the errors of MLflow, its database and the disk into a `SearchError` of one line."""
    for variable, value in _QUIET.items():
        os.environ.setdefault(variable, value)
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise SearchError(f"MLflow could not {action}: {reason}") from error


def _key(name: str) -> str:
    """Replace the characters that MLflow forbids in the names of params and metrics."""
    return re.sub(r"[^\w\-. /:]", "_", name, flags=re.ASCII)[:_KEY_LENGTH]


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _trial_of(run: Run) -> int:
    return int(run.data.tags[_TRIAL])


def _test_metric(prefix: str, scored: Scored, metric: str) -> dict[str, float]:
    return {} if scored.test is None else {f"{prefix}test_{metric}": scored.test}


def _search_metrics(result: SearchResult) -> dict[str, float]:
    metrics: dict[str, float] = {"trials": result.trials, "seconds": result.seconds}
    scored = {"baseline_": result.baseline, "best_": result.best}
    for prefix, entry in scored.items():
        if entry:
            metrics |= {f"{prefix}{name}": value for name, value in entry.values.items()}
            metrics |= _test_metric(prefix, entry, result.metric)
    return metrics | ({"best_rise": result.rise(result.best)} if result.best else {})


def _saved_view(result: SearchResult, now: int) -> dict[str, Any]:
    """Describe the table of trials in the form of MLflow's own saved views.

    The addresses of the UI can name a filter and an order, but no columns; a saved view can.
    """
    names = [*result.directions, f"test_{result.metric}"]
    columns = [f"metrics.`{_key(name)}`" for name in names] + ["tags.`front`", "tags.`best`"]
    state = {
        "searchFilter": _FINISHED_TRIALS,
        "orderByKey": f"metrics.`{_key(result.metric)}`",
        "orderByAsc": result.directions[result.metric] == "minimize",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "selectedColumns": columns,
        "columnOrder": columns,
        "runsHiddenMode": "SHOW_ALL",
    }
    view = {"name": "trials", "createdAt": now, "updatedAt": now}
    return {**view, "state": json.dumps(state)}
