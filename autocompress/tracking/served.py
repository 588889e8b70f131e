"""The code by which MLflow loads the best of a search: it is copied into the model and run there.

Nothing of it is pickled: the artifact is a file of its own, and what answers is imported by name.
"""

from importlib import import_module
from typing import Any

import mlflow
import pandas
from mlflow.pyfunc import PythonModel  # type: ignore[attr-defined]


class Served(PythonModel):
    """Answers requests by the predictor that the model's configuration names."""

    def load_context(self, context: Any) -> None:
        """Make the predictor."""
        module, _, name = context.model_config["predictor"].partition(":")
        make = getattr(import_module(module), name)
        self._predictor = make(context.artifacts["artifact"], **context.model_config["settings"])

    def predict(
        self, context: Any, model_input: pandas.DataFrame, params: dict[str, Any] | None = None
    ) -> pandas.DataFrame:
        """Answer a request: by a table, or arrays; MLflow warns where no type is told, or any."""
        del context
        return self._predictor.predict(model_input, **(params or {}))  # type: ignore[no-any-return]


mlflow.models.set_model(Served())
