"""The best of a search as a registered model of MLflow, that answers requests."""

from __future__ import annotations

import re
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from autocompress.errors import TaskError
from autocompress.outcome.about import inputs_of, predictor_of
from autocompress.support import progress
from autocompress.support.blame import told
from autocompress.tracking.runs import NOTE, Runs

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from autocompress.outcome.about import About, Serving

ALIAS = "best"
_FOLDER = "model"
_SERVED = Path(__file__).with_name("served.py")


def register(runs: Runs, name: str, run_id: str, artifact: Path, serving: Serving) -> str:
    """Have the best be the version of a registered model that has the alias.

    Args:
        runs: Of the search.
        name: Of the search.
        run_id: Of the best.
        artifact: Its file.
        serving: How it is served.

    Returns:
        The address by which MLflow loads it.

    Raises:
        TaskError: If it cannot be made or does not answer.
    """
    key = model_name(name)
    address = f"models:/{key}@{ALIAS}"
    versions = runs.client.search_model_versions(f"name = '{key}'")
    known = next((one for one in versions if one.run_id == run_id), None)
    if known is None or not runs.has_file(run_id, _FOLDER):
        _log(runs, run_id, artifact, serving)
    if known is None:
        if not versions:
            _make(runs.client, key)
        known = runs.client.create_model_version(key, f"runs:/{run_id}/{_FOLDER}", run_id)
    note = runs.client.get_run(run_id).data.tags.get(NOTE)
    runs.client.update_model_version(key, known.version, note)
    runs.client.set_registered_model_alias(key, ALIAS, known.version)
    return address


def _make(client: MlflowClient, key: str) -> None:
    """Make a registered model, unless there is one that has no versions."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(key)
    except MlflowException:
        client.get_registered_model(key)


def model_name(name: str) -> str:
    """Return the name of a search without what names of models may not have."""
    return re.sub(r"[/:'\"%]", "_", name)


def _log(runs: Runs, run_id: str, artifact: Path, serving: Serving) -> None:
    """Write the model into the run: code that loads the artifact, without anything pickled."""
    example = inputs_of(serving.example)
    try:
        answer = predictor_of(serving, artifact).predict(example, **serving.params)
    except Exception as error:  # whatever a user's module raises
        raise TaskError(f"`{serving.predictor}` {told(error)}") from error
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns of its own types while it is imported
        import mlflow.pyfunc
        from mlflow.models import infer_signature

        path = Path(folder) / _FOLDER
        mlflow.pyfunc.save_model(
            path,
            python_model=str(_SERVED),
            # MLflow takes it for an address, in which a name with % means another one.
            artifacts={"artifact": artifact.resolve().as_uri()},
            model_config={"predictor": serving.predictor, "settings": dict(serving.settings)},
            signature=infer_signature(example, answer, dict(serving.params) or None),
            input_example=example,
            pip_requirements=[f"autocompress=={version('autocompress')}"],
            code_paths=None if serving.code is None else [serving.code],
        )
        runs.client.log_artifacts(run_id, str(path), _FOLDER)


def registered(
    runs: Runs, name: str, run_id: str, artifact: Path, about: About
) -> tuple[str | None, str | None]:
    """Register the best of a search; return its address, or why there is none.

    Nobody has asked for a model who says nothing of how it is made: MLflow tells, not the
    terminal.
    """
    if about.serving is None:
        return None, about.unserved
    try:
        return register(runs, name, run_id, artifact, about.serving), None
    except TaskError as error:
        progress.say(f"MLflow serves no model of this search: {error}")
        return None, str(error)
