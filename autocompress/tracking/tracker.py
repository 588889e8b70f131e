"""MLflow: one parent run for a search, one child run for every trial.

All of it lies in the search's folder, and nothing leaves the machine, unless the user names a
server. MLflow is imported when a `Tracker` is made and not before, since that takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autocompress.artifact import open_artifact
from autocompress.outcome.tracks import TITLES
from autocompress.support import progress
from autocompress.tracking.concluding import ids_of, log_files, log_tuned, mark_front, save_view
from autocompress.tracking.figures import log_latest, log_metrics, search_metrics, truth
from autocompress.tracking.homes import OwnFolder, UsersServer
from autocompress.tracking.model import registered
from autocompress.tracking.notes import (
    FRONT_PICTURE,
    headline,
    search_note,
    trial_headline,
    trial_note,
)
from autocompress.tracking.outcome import Outcome
from autocompress.tracking.pictures import DrawWeights, Pictures
from autocompress.tracking.runs import BASELINE, ENDED, NOTE, TRIAL, Ending, Runs, trial_of
from autocompress.tracking.standing import (
    GIVEN_UP,
    MODEL,
    STANDING,
    TRACK,
    UNCOMPRESSED,
    tags_of,
)
from autocompress.tracking.view import address
from autocompress.tracking.yardstick import Yardstick

if TYPE_CHECKING:
    from autocompress.outcome.about import About
    from autocompress.outcome.results import Scored, SearchResult, TrialResult, WithoutFile
    from autocompress.outcome.training import TrainingLog


class Tracker:
    """Writes a search to MLflow. One process at a time may own the runs of a search.

    A trial's run is created, filled, and only then marked as ended: as finished, or as failed
    where the trial was given up. Whatever a killed process left half-written is therefore told
    apart by its status, and `reconcile` repairs it.
    """

    def __init__(
        self,
        home: Path | UsersServer,
        name: str,
        params: Mapping[str, str],
        yardstick: Yardstick | None = None,
        draw_weights: DrawWeights | None = None,
    ) -> None:
        """Open or create the database, and start or continue the search's parent run.

        Args:
            home: The search's folder, in which a database is kept, or a server.
            name: The search's name; the parent run of this name is continued.
            params: What the search was started with. MLflow never changes a param, so one that
                differs when the search is continued is recorded as a tag "continued.<param>".
            yardstick: What trials are measured against; None leaves such figures out.
            draw_weights: Draws the picture that each run has; None leaves pictures out.

        Raises:
            SearchError: If the database cannot be opened or written, or the server not reached.
        """
        self._runs = Runs(OwnFolder(home) if isinstance(home, Path) else home, name, params)
        self._name, self._yardstick = name, yardstick
        self._pictures = Pictures(self._runs, draw_weights)
        self._best: float | None = None

    def reconcile(
        self,
        results: Sequence[TrialResult],
        artifact_of: Callable[[int], Path],
        given_up: Mapping[int, WithoutFile] | None = None,
    ) -> None:
        """Repair what a killed process left: one ended run per finished trial, no other.

        Args:
            results: All finished trials.
            artifact_of: Gives the file of a trial by its number.
            given_up: By number, what is known of trials without a file.

        Raises:
            SearchError: If MLflow fails.
        """
        missing, rejected = {result.number: result for result in results}, dict(given_up or {})
        with self._runs.errors("repair the runs of the search"):
            for run in self._runs.children(TRIAL):
                is_whole, number = run.info.status in ENDED, trial_of(run)
                if is_whole and rejected.pop(number, None) is not None:
                    continue
                known = missing.pop(number, None) if is_whole else None
                if known is not None and self._runs.heals:
                    self._runs.restore(run, known.plan, artifact_of(known.number))
                    self._draw_trial(run.info.run_id, known, artifact_of(known.number))
                elif known is not None:
                    continue
                elif run.info.status != "KILLED":
                    self._runs.end(run.info.run_id, "KILLED")
            self._log_uncompressed()
        if len(missing) + len(rejected) > 1:
            progress.say(
                f"MLflow lacks {len(missing) + len(rejected)} trials: they are logged anew"
            )
        self._best = None
        for result in sorted(results, key=lambda one: one.number):
            if result.number in missing:
                self.log_trial(result, artifact_of(result.number))
            else:
                self._count(result)
        for number, lost in rejected.items():
            self.log_given_up(number, lost)

    def log_trial(self, result: TrialResult, artifact: Path) -> None:
        """Write a finished trial as a child run, with its plan and its file.

        Args:
            result: The trial.
            artifact: Its file, which is copied.

        Raises:
            SearchError: If MLflow fails.
        """
        with self._runs.errors(f"log trial {result.number}"):
            run_id = self._start_trial(result)
            metrics = {**self._figures(result.values, result.number), **result.values}
            metrics |= {"seconds": result.seconds, "cpu_seconds": result.cpu_seconds}
            if result.predicted is not None:
                metrics["predicted_loss_rise"] = result.predicted
            best = self._count(result)
            log_metrics(self._runs.client, self._runs.parent, best, step=result.number)
            log_metrics(self._runs.client, run_id, metrics | best)
            self._runs.client.log_artifact(run_id, str(artifact))
            report = open_artifact(artifact).report()
            self._runs.log_plan(run_id, result.plan, report)
            self._draw_trial(run_id, result, artifact)
            self._runs.note(run_id, trial_note(self._headline(result), report))
            status: Ending = "FINISHED" if result.rejected is None else "FAILED"
            self._runs.end(run_id, status, result.started + result.seconds)

    def log_given_up(self, number: int, known: WithoutFile) -> None:
        """Write a trial of which there is no file as a child run, with its plan and the reason.

        Raises:
            SearchError: If MLflow fails.
        """
        tags = {TRIAL: str(number), "feasible": truth(False), "front": truth(False)}
        tags |= {"origin": known.origin, "rejected": known.reason, STANDING: GIVEN_UP}
        tags[TRACK] = TITLES["plain"]
        with self._runs.errors(f"log trial {number}"):
            note = f"Given up: {known.reason}"
            model = self._model_of(number)
            tags |= {NOTE: note} if model is None else {NOTE: note, MODEL: model}
            run_id = self._runs.start(_title(number, model), tags)
            if known.plan is not None:
                self._runs.log_plan(run_id, known.plan)
            self._runs.end(run_id, "FAILED")

    def log_front(self, result: SearchResult, files: Sequence[Path]) -> None:
        """Mark the front and the best trial, and put the figures of the search on its run.

        The best trial gets its exported model as well.

        Args:
            result: The search; marks that no longer hold are taken back.
            files: Files to store with the search, such as its picture.

        Raises:
            SearchError: If MLflow fails.
        """
        with self._runs.errors("log the front"):
            mark_front(self._runs, result)
            log_latest(self._runs.client, self._runs.parent, search_metrics(result))
            log_files(self._runs, files)

    def log_recovered(
        self, result: SearchResult, scored: Scored, log: TrainingLog | None = None
    ) -> None:
        """Write a fine-tuned model as a child run with its plan, once; mark it if it is the best.

        Args:
            result: The search.
            scored: Its numbers and its file; the name of the file's folder names the run.
            log: How the fine-tuning went, as far as that is known.

        Raises:
            SearchError: If MLflow fails.
            ArtifactError: If the file is damaged.
        """
        with self._runs.errors(f"log {scored.folder_name}"):
            metrics = {**self._figures(scored.values, scored.trial), **scored.values}
            run_id = log_tuned(self._runs, result, scored, metrics, log)
            title = f"{result.title(scored)}: {headline(result, scored)}"
            self._pictures.add(run_id, title, scored.artifact)

    def conclude(self, result: SearchResult, about: About) -> None:
        """Register the best as a model, if it can be served, and say the answer on the search.

        Args:
            result: The search, of which all runs are logged.
            about: Tells of the data, and how the model is served.

        Raises:
            SearchError: If MLflow fails.
        """
        with self._runs.errors("describe the search"):
            if about.data is not None:
                self._runs.log_data(about.data)
            save_view(self._runs, result)
            ids, model, unserved = ids_of(self._runs, result), None, None
            if result.best is not None:
                run_id = ids[result.best.artifact]
                model, unserved = registered(
                    self._runs, self._name, run_id, result.best.artifact, about
                )
            root = f"#/experiments/{self._runs.experiment}/runs"
            runs = {path: f"{root}/{run_id}" for path, run_id in ids.items()}
            parent, front = self._runs.parent, None
            if self._runs.has_file(parent, FRONT_PICTURE):
                front = f"{root}/{parent}/artifacts/{FRONT_PICTURE}"
            self._runs.note(parent, search_note(result, runs, model, front, unserved))

    def log_outcome(self, outcome: Outcome) -> None:
        """Write all that a search has come to; again, if some of it is there."""
        outcome.write(self)

    def page(self, root: str) -> str:
        """Return the page of the UI that shows the trials, below the address of a server."""
        return address(root, self._runs.experiment, self._runs.view)

    def end(self, status: Ending) -> None:
        """Mark the search as ended; opening its folder again continues it."""
        with self._runs.errors("end the run of the search"):
            self._runs.close(status)

    def _start_trial(self, result: TrialResult) -> str:
        tags = {TRIAL: str(result.number), **tags_of(result)}
        model = self._model_of(result.number)
        tags |= {} if model is None else {MODEL: model}
        return self._runs.start(_title(result.number, model), tags, result.started)

    def _draw_trial(self, run_id: str, result: TrialResult, artifact: Path) -> None:
        title = f"trial {result.number}: {self._headline(result)}"
        self._pictures.add(run_id, title, artifact, result.rises)

    def _headline(self, result: TrialResult) -> str:
        figures = {**self._figures(result.values, result.number), **result.values}
        metric = None if self._yardstick is None else self._yardstick.metric
        return trial_headline(result, figures, metric)

    def _log_uncompressed(self) -> None:
        """Write the uncompressed model as a child run, so that trials stand beside it."""
        if self._yardstick is None or self._runs.children(BASELINE, "status = 'FINISHED'"):
            return
        tags = {BASELINE: truth(True), "rejected": "no", STANDING: UNCOMPRESSED}
        tags[TRACK] = TITLES["plain"]
        run_id = self._runs.start("uncompressed", tags)
        baseline = self._yardstick.baseline
        log_metrics(self._runs.client, run_id, {**self._figures(baseline), **baseline})
        self._runs.note(run_id, "The model before compression, in single precision.")
        self._runs.end(run_id)

    def _figures(self, values: Mapping[str, float], number: int | None = None) -> dict[str, float]:
        return {} if self._yardstick is None else self._yardstick.figures(values, number)

    def _model_of(self, number: int) -> str | None:
        return None if self._yardstick is None else self._yardstick.model_of(number)[0]

    def _count(self, result: TrialResult) -> dict[str, float]:
        """Return the best value so far under its name, a trial included."""
        if self._yardstick is None:
            return {}
        if result.feasible and result.rejected is None:
            self._best = self._yardstick.better(result.values, self._best)
        return {} if self._best is None else {self._yardstick.best_name: self._best}


def _title(number: int, model: str | None) -> str:
    return f"trial-{number:04d}" + ("" if model is None else f", {model}")
