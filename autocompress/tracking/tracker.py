"""MLflow: one parent run for a search, one child run for every finished trial.

All of it lies in the search's folder, and nothing leaves the machine. MLflow is imported when a
`Tracker` is made and not before, since that takes seconds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote
from weakref import finalize

from autocompress.artifact import open_artifact
from autocompress.support import progress
from autocompress.tracking.figures import (
    held_out_metric,
    log_metrics,
    log_params,
    milliseconds,
    mlflow_key,
    plan_params,
    search_metrics,
    truth,
)
from autocompress.tracking.store import (
    ARTIFACTS,
    close,
    linked,
    mlflow_errors,
    open_database,
    unlinked,
)
from autocompress.tracking.view import VIEW, Links, saved_view

if TYPE_CHECKING:
    from mlflow.entities import Run

    from autocompress.outcome.results import Scored, SearchResult, TrialResult
    from autocompress.plan import CompressionPlan

EXPERIMENT = "autocompress"
_PARENT = "mlflow.parentRunId"
_SEARCH = "autocompress.search"
_TRIAL = "autocompress.trial"
_RECOVERED = "autocompress.recovered"
_RUNS_PER_SEARCH = 50_000


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
        with mlflow_errors("open its database"):
            self._out.mkdir(parents=True, exist_ok=True)
            place = linked(self._out)
            finalize(self, unlinked, place)
            self._client = open_database(self._out, place)
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
        with mlflow_errors("repair the runs of the search"):
            for run in self._children():
                finished = run.info.status == "FINISHED"
                known = missing.pop(_trial_of(run), None) if finished else None
                if known is not None:
                    self._restore_files(run, known.plan, artifact_of(known.number))
                elif run.info.status != "KILLED":
                    self._client.set_terminated(run.info.run_id, "KILLED")
        if len(missing) > 1:
            progress.say(f"MLflow lacks {len(missing)} finished trials: they are logged anew")
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
        with mlflow_errors(f"log trial {result.number}"):
            run_id = self._start_trial(result)
            metrics = {**result.values, "seconds": result.seconds}
            metrics["cpu_seconds"] = result.cpu_seconds
            if result.predicted is not None:
                metrics["predicted_loss_rise"] = result.predicted
            log_metrics(self._client, run_id, metrics)
            self._log_plan(run_id, result.plan)
            self._client.log_artifact(run_id, str(artifact))
            end = milliseconds(result.started + result.seconds)
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
        with mlflow_errors("log the front"):
            for run in self._children("attributes.status = 'FINISHED'"):
                number = _trial_of(run)
                self._mark(run, {"front": number in front, "best": number == best})
                if number in front:
                    test = held_out_metric("", front[number], result.metric)
                    log_metrics(self._client, run.info.run_id, test)
                if number == best:
                    self._log_onnx(run.info.run_id, front[number])
            log_metrics(self._client, self._parent, search_metrics(result))
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
        with mlflow_errors(f"log {name}"):
            parent = f"tags.`{_PARENT}` = '{self._parent}'"
            for run in self._search(f"{parent} and tags.`{_RECOVERED}` = '{name}'"):
                if run.info.status == "FINISHED":
                    self._mark(run, {"best": scored == result.best})
                    self._restore_files(run, open_artifact(scored.artifact).plan, scored.artifact)
                    return
                self._client.set_terminated(run.info.run_id, "KILLED")
            tags = {_PARENT: self._parent, _RECOVERED: name, "of_trial": str(scored.trial)}
            started = self._client.create_run(self._experiment, tags=tags, run_name=name)
            run_id = str(started.info.run_id)
            self._mark(started, {"best": scored == result.best})
            test = held_out_metric("", scored, result.metric)
            log_metrics(self._client, run_id, {**scored.values, **test})
            self._log_plan(run_id, open_artifact(scored.artifact).plan)
            self._client.log_artifact(run_id, str(scored.artifact))
            self._log_onnx(run_id, scored)
            self._client.set_terminated(run_id, "FINISHED")

    def end(self, status: Literal["FINISHED", "KILLED", "FAILED"]) -> None:
        """Mark the search as ended; opening its folder again continues it."""
        with mlflow_errors("end the run of the search"):
            self._client.set_terminated(self._parent, status)
            close(self._client)

    def links(self, port: int = 5000) -> Links:
        """Return the pages to look at, as a server on this port shows them."""
        with mlflow_errors("find the runs of the front"):
            front = self._children("tags.front = 'true' and attributes.status = 'FINISHED'")
        root = f"http://127.0.0.1:{port}/#"
        runs = f"{root}/experiments/{self._experiment}/runs"
        ids = quote(json.dumps([run.info.run_id for run in front]))
        experiments = quote(json.dumps([self._experiment]))
        compare = f"{root}/compare-runs?runs={ids}&experiments={experiments}"
        return Links(
            runs=f"{runs}?viewStateShareKey={VIEW}",
            picture=f"{runs}/{self._parent}/artifacts/front.png",
            compare=compare if front else None,
        )

    def _open_experiment(self) -> str:
        if known := self._client.get_experiment_by_name(EXPERIMENT):
            return str(known.experiment_id)
        # The UI asks every visitor for the kind of an experiment that does not name it.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        location = (self._out / ARTIFACTS).as_uri()
        return str(self._client.create_experiment(EXPERIMENT, location, tags))

    def _open_parent(self, name: str, params: Mapping[str, str]) -> str:
        searches = self._search(f"tags.`{_SEARCH}` != ''")
        known = next((run for run in searches if run.data.tags[_SEARCH] == name), None)
        if known is None:
            tags = {_SEARCH: name}
            run = self._client.create_run(self._experiment, tags=tags, run_name=name)
            log_params(
                self._client,
                run.info.run_id,
                {mlflow_key(key): text for key, text in params.items()},
            )
            return str(run.info.run_id)
        self._client.update_run(known.info.run_id, "RUNNING")
        self._continue_params(known, params)
        return str(known.info.run_id)

    def _continue_params(self, parent: Run, params: Mapping[str, str]) -> None:
        before = parent.data.params
        wanted = {mlflow_key(key): text for key, text in params.items()}
        log_params(
            self._client,
            parent.info.run_id,
            {key: text for key, text in wanted.items() if key not in before},
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
            "feasible": truth(result.feasible),
            "front": truth(False),
            "origin": result.origin,
            "rejected": result.rejected or "no",
        }
        run = self._client.create_run(
            self._experiment, milliseconds(result.started), tags, f"trial-{result.number:04d}"
        )
        return str(run.info.run_id)

    def _log_onnx(self, run_id: str, scored: Scored) -> None:
        """Copy the exported model, if there is one, to the run."""
        if scored.onnx is not None:
            self._client.log_artifact(run_id, str(scored.onnx))

    def _mark(self, run: Run, marks: Mapping[str, bool]) -> None:
        for key, holds in marks.items():
            if run.data.tags.get(key, truth(False)) != truth(holds):
                self._client.set_tag(run.info.run_id, key, truth(holds))

    def _log_plan(self, run_id: str, plan: CompressionPlan) -> None:
        log_params(self._client, run_id, plan_params(plan.to_json()))
        self._log_plan_file(run_id, plan)

    def _log_plan_file(self, run_id: str, plan: CompressionPlan) -> None:
        self._client.log_text(run_id, json.dumps(plan.to_json(), indent=2), "plan.json")

    def _restore_files(self, run: Run, plan: CompressionPlan, artifact: Path) -> None:
        """Copy the files of a run again that somebody has deleted."""
        run_id = run.info.run_id
        there = self._out / ARTIFACTS / run_id / "artifacts"
        if not (there / artifact.name).is_file():
            self._client.log_artifact(run_id, str(artifact))
        if not (there / "plan.json").is_file():
            self._log_plan_file(run_id, plan)

    def _save_view(self, result: SearchResult) -> None:
        """Store the columns and the order of the table that `links` leads to."""
        view = json.dumps(saved_view(result, milliseconds(time.time())))
        key = f"mlflow.sharedViewState.{VIEW}"
        self._client.set_experiment_tag(self._experiment, key, view)


def _trial_of(run: Run) -> int:
    return int(run.data.tags[_TRIAL])
