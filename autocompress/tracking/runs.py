"""The runs of one search in MLflow: found, made and marked. What they say is told elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from autocompress.tracking.figures import log_params, milliseconds, mlflow_key, plan_params
from autocompress.tracking.homes import Home

if TYPE_CHECKING:
    from mlflow.entities import Run

    from autocompress.artifact import WeightReport
    from autocompress.outcome.about import DataDescription
    from autocompress.plan import CompressionPlan

PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"
TRIAL, RECOVERED, BASELINE = (
    "autocompress.trial",
    "autocompress.recovered",
    "autocompress.baseline",
)
_RUNS_PER_SEARCH = 50_000
_DIGEST = 36  # the most that MLflow takes

Ending = Literal["FINISHED", "KILLED", "FAILED"]
ENDED = ("FINISHED", "FAILED")
"""How runs end that are whole; what a killed process left becomes KILLED."""


class Runs:
    """One parent run for a search, with children.

    Attributes:
        client: MLflow's.
        experiment: In which all runs lie.
        parent: The run of the search.
        view: What the saved view of its trials is called.
        heals: Whether files that somebody has deleted from runs are copied there again.
    """

    def __init__(self, home: Home, name: str, params: Mapping[str, str]) -> None:
        """Open their home, and start or continue the search's parent run.

        Raises:
            SearchError: If that cannot be reached, opened or written.
        """
        self._home, self.view, self.heals = home, home.view, home.heals
        with self.errors("open its database"):
            self.client = home.open()
            self.experiment = self._open_experiment()
            self.parent = self._open_parent(name, params)

    def errors(self, action: str) -> AbstractContextManager[None]:
        """Turn MLflow's errors within the block into a `SearchError` of one line."""
        return self._home.errors(action)

    def children(self, tag: str, condition: str | None = None) -> list[Run]:
        """Return the children of this search that have a tag, and keep a condition."""
        found = f"tags.`{PARENT}` = '{self.parent}' and tags.`{tag}` != ''"
        return self._search(f"{found} and {condition}" if condition else found)

    def of_trial(self, number: int) -> Run | None:
        """Return the run of a trial that was measured whole; None where there is none."""
        condition = f"attributes.status = 'FINISHED' and tags.`{TRIAL}` = '{number}'"
        return next(iter(self.children(TRIAL, condition)), None)

    def start(self, name: str, tags: Mapping[str, str], started: float | None = None) -> str:
        """Start a child run and return its id.

        Args:
            name: Of the run.
            tags: Of the run.
            started: In seconds since the epoch; None is now.
        """
        began = milliseconds(time.time() if started is None else started)
        tags = {PARENT: self.parent, **tags}
        return str(self.client.create_run(self.experiment, began, tags, name).info.run_id)

    def end(self, run_id: str, status: Ending = "FINISHED", ended: float | None = None) -> None:
        """End a run, which says that it is whole, or that it never will be."""
        at = None if ended is None else milliseconds(ended)
        self.client.set_terminated(run_id, status, at)

    def mark(self, run: Run, tags: Mapping[str, str]) -> None:
        """Set tags of a run, where they are others."""
        for key, text in tags.items():
            if run.data.tags.get(key) != text:
                self.client.set_tag(run.info.run_id, key, text)

    def note(self, run_id: str, text: str) -> None:
        """Set what MLflow shows above a run, in Markdown."""
        self.client.set_tag(run_id, NOTE, text)

    def log_plan(
        self, run_id: str, plan: CompressionPlan, report: Iterable[WeightReport] = ()
    ) -> None:
        """Write a plan as params and as a file."""
        log_params(self.client, run_id, plan_params(plan, report))
        self.log_plan_file(run_id, plan)

    def restore(self, run: Run, plan: CompressionPlan, artifact: Path) -> None:
        """Copy the files of a run again that somebody has deleted, where they are the tool's."""
        run_id = run.info.run_id
        if self.heals and not self.has_file(run_id, artifact.name):
            self.client.log_artifact(run_id, str(artifact))
        if self.heals and not self.has_file(run_id, "plan.json"):
            self.log_plan_file(run_id, plan)

    def has_file(self, run_id: str, name: str) -> bool:
        """Whether a run has a file or a folder of this name."""
        return self._home.has_file(self.client, run_id, name)

    def log_drawn(self, run_id: str, name: str, draw: Callable[[Path], None]) -> None:
        """Give a run a picture: under a name, what draws it into a file."""
        with TemporaryDirectory() as folder:
            draw(Path(folder) / name)
            self.client.log_artifact(run_id, str(Path(folder) / name))

    def log_data(self, data: DataDescription) -> None:
        """Write what the parent run worked on."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        profile = json.dumps(dict(data.profile))
        source = json.dumps({"name": data.name})
        dataset = Dataset(data.name, data.digest[:_DIGEST], "local", source, None, profile)
        tag = InputTag("mlflow.data.context", "search")
        self.client.log_inputs(self.parent, [DatasetInput(dataset, [tag])])

    def log_plan_file(self, run_id: str, plan: CompressionPlan) -> None:
        """Write a plan as a file."""
        self.client.log_text(run_id, json.dumps(plan.to_json(), indent=2), "plan.json")

    def close(self, status: Ending) -> None:
        """End the parent run, and close the database."""
        self.end(self.parent, status)
        self._home.close(self.client)

    def _open_experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        name = self._home.experiment
        if known := self.client.get_experiment_by_name(name):
            return str(known.experiment_id)
        # The UI asks every visitor for the kind of an experiment that does not name it.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        try:
            return str(self.client.create_experiment(name, self._home.location, tags))
        except MlflowException:  # of another search, made since, or deleted
            if known := self.client.get_experiment_by_name(name):
                return str(known.experiment_id)
            raise

    def _open_parent(self, name: str, params: Mapping[str, str]) -> str:
        tags = self._home.tags(name)
        searches = self._search(" and ".join(f"tags.`{tag}` != ''" for tag in tags))
        known = next((run for run in searches if tags.items() <= run.data.tags.items()), None)
        if known is None:
            run = self.client.create_run(self.experiment, tags=tags, run_name=name)
            log_params(
                self.client,
                run.info.run_id,
                {mlflow_key(key): text for key, text in params.items()},
            )
            return str(run.info.run_id)
        self.client.update_run(known.info.run_id, "RUNNING")
        self._continue_params(known, params)
        return str(known.info.run_id)

    def _continue_params(self, parent: Run, params: Mapping[str, str]) -> None:
        before = parent.data.params
        wanted = {mlflow_key(key): text for key, text in params.items()}
        log_params(
            self.client,
            parent.info.run_id,
            {key: text for key, text in wanted.items() if key not in before},
        )
        for key, text in wanted.items():
            if before.get(key, text) != text:
                self.client.set_tag(parent.info.run_id, f"continued.{key}", text)

    def _search(self, condition: str) -> list[Run]:
        return list(self.client.search_runs([self.experiment], condition, 1, _RUNS_PER_SEARCH))


def trial_of(run: Run) -> int:
    """Return the number of the trial that a run is of."""
    return int(run.data.tags[TRIAL])
