"""What a search has come to, written onto its runs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autocompress.artifact import open_artifact
from autocompress.outcome.tracks import DONE, TITLES
from autocompress.tracking.figures import (
    held_out_metric,
    log_metrics,
    log_series,
    milliseconds,
    mlflow_key,
    truth,
)
from autocompress.tracking.notes import headline, trial_note, with_named_pictures
from autocompress.tracking.runs import BASELINE, NOTE, RECOVERED, TRIAL, Runs, trial_of
from autocompress.tracking.standing import (
    BEST,
    KEPT,
    MISSED,
    STANDING,
    TRACK,
    standing_in,
    standings,
)
from autocompress.tracking.view import saved_view
from autocompress.tracking.yardstick import BITS

if TYPE_CHECKING:
    from mlflow.entities import Run

    from autocompress.outcome.results import Scored, SearchResult
    from autocompress.outcome.training import TrainingLog

_WHOLE = "attributes.status = 'FINISHED'"
_WEIGHTS_SHOWN = 3  # in parallel coordinates


def mark_front(runs: Runs, result: SearchResult) -> None:
    """Mark the trials of the front and the best of them, with their scores on test data.

    Of all others, which may be many, only what was marked before is looked at.
    """
    front = {scored.trial: scored for scored in result.front if scored.trial is not None}
    standing = standings(result)
    for marked in runs.children(TRIAL, f"{_WHOLE} and tags.front = '{truth(True)}'"):
        if trial_of(marked) not in front:
            _mark(runs, marked, None)
    for number, scored in front.items():
        run = runs.of_trial(number)
        if run is None:
            continue
        _mark(runs, run, standing.get(number))
        _log_test(runs, run.info.run_id, scored, result.metric)
        report = open_artifact(scored.artifact).report()
        runs.mark(run, {NOTE: trial_note(headline(result, scored), report)})
        if standing.get(number) == BEST:
            _log_onnx(runs, run.info.run_id, scored)
    for run in runs.children(BASELINE):
        _log_test(runs, run.info.run_id, result.baseline, result.metric)


def log_files(runs: Runs, files: Sequence[Path]) -> None:
    """Store files with the search; texts name the pictures beside them."""
    for file in files:
        if file.suffix == ".md":
            text = with_named_pictures(file.read_text(encoding="utf-8"))
            runs.client.log_text(runs.parent, text, file.name)
        else:
            runs.client.log_artifact(runs.parent, str(file))


def save_view(runs: Runs, result: SearchResult) -> None:
    """Store what the UI's page of the search shows."""
    now = milliseconds(time.time())
    view = saved_view(result, now, runs.parent, _bits_of_most(result))
    key = f"mlflow.sharedViewState.{runs.view}"
    runs.client.set_experiment_tag(runs.experiment, key, json.dumps(view))


def _bits_of_most(result: SearchResult) -> list[str]:
    """Return the params that tell the bits of the weights of most numbers."""
    largest = sorted(open_artifact(result.baseline.artifact).report(), key=lambda w: -w.n_weights)
    return [mlflow_key(f"{line.name}.{BITS}") for line in largest[:_WEIGHTS_SHOWN]]


def log_tuned(
    runs: Runs,
    result: SearchResult,
    scored: Scored,
    metrics: Mapping[str, float],
    log: TrainingLog | None,
) -> str:
    """Write a fine-tuned model as a run of its own, once, and mark what it has come to.

    Returns:
        The id of the run.
    """
    name, artifact = scored.folder_name, open_artifact(scored.artifact)
    marks = {"best": truth(scored == result.best), STANDING: standing_in(result, scored)}
    marks |= {TRACK: TITLES[scored.track], "how": scored.how}
    marks["best_of_track"] = truth(scored == result.best_of_track(scored.track))
    for run in runs.children(RECOVERED):
        if run.data.tags[RECOVERED] != name:
            continue
        if run.info.status == "FINISHED":
            runs.mark(run, marks)
            runs.restore(run, artifact.plan, scored.artifact)
            return str(run.info.run_id)
        runs.end(run.info.run_id, "KILLED")
    report = artifact.report()
    tags = {RECOVERED: name, "of_trial": str(scored.trial), "rejected": "no", **marks}
    done = DONE[scored.track]
    tags[NOTE] = trial_note(f"{done.capitalize()}: {headline(result, scored)}", report)
    is_control = scored in result.controls
    title = f"uncompressed, {done}" if is_control else f"trial-{scored.trial:04d}, {done}"
    run_id = runs.start(title, tags, None if log is None else log.started)
    seconds = {} if log is None else {"seconds": log.seconds}
    log_metrics(runs.client, run_id, {**metrics, **seconds})
    _log_test(runs, run_id, scored, result.metric)
    if log is not None:
        log_series(runs.client, run_id, _curves(log, result.metric))
    if is_control:  # of which all weights are stored alike
        runs.log_plan_file(run_id, artifact.plan)
    else:
        runs.log_plan(run_id, artifact.plan, report)
    runs.client.log_artifact(run_id, str(scored.artifact))
    _log_onnx(runs, run_id, scored)
    runs.end(run_id, "FINISHED", None if log is None else log.ended)
    return run_id


def ids_of(runs: Runs, result: SearchResult) -> dict[Path, str]:
    """Return the runs of the models that a search names, by their files."""
    tuned = {run.data.tags[RECOVERED]: run.info.run_id for run in runs.children(RECOVERED, _WHOLE)}
    ids = _ids_of_trials(runs, result.front)
    for one in (*result.fine_tuned, *result.controls):
        if one.folder_name in tuned:
            ids[one.artifact] = tuned[one.folder_name]
    for run in runs.children(BASELINE, _WHOLE):
        ids[result.baseline.artifact] = run.info.run_id
    return _ids_of_trials(runs, result.misses[:1]) | ids


def _ids_of_trials(runs: Runs, models: Sequence[Scored]) -> dict[Path, str]:
    found = {one.artifact: runs.of_trial(one.trial) for one in models if one.trial is not None}
    return {path: str(run.info.run_id) for path, run in found.items() if run is not None}


def _mark(runs: Runs, run: Run, on_front: str | None) -> None:
    is_kept = run.data.tags.get("feasible") == truth(True)
    standing = on_front or (KEPT if is_kept else MISSED)
    tags = {"front": truth(on_front is not None), "best": truth(on_front == BEST)}
    runs.mark(run, {**tags, STANDING: standing})


def _log_test(runs: Runs, run_id: str, scored: Scored, metric: str) -> None:
    log_metrics(runs.client, run_id, held_out_metric("", scored, metric))


def _log_onnx(runs: Runs, run_id: str, scored: Scored) -> None:
    """Copy the exported model, if there is one, to the run."""
    if scored.onnx is not None:
        runs.client.log_artifact(run_id, str(scored.onnx))


def _curves(log: TrainingLog, metric: str) -> dict[str, list[tuple[int, float]]]:
    """Return training losses, and the metric and the size of the files, by step."""
    curves: dict[str, list[tuple[int, float]]] = {"training_loss": list(log.losses)}
    for step, values in log.files:
        if metric in values:
            curves.setdefault(f"{metric}_by_step", []).append((step, values[metric]))
    return {name: points for name, points in curves.items() if points}
