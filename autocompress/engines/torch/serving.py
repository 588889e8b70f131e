"""Arrays in, arrays out: what MLflow serves of a model of any other kind."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from autocompress.engines.torch.loading import load
from autocompress.errors import TaskError
from autocompress.outcome.about import imported


class Arrays:
    """Runs a model on arrays."""

    def __init__(self, artifact: str | os.PathLike[str], factory: str | None = None) -> None:
        """Load an artifact.

        Args:
            artifact: The path of its file.
            factory: Import path of what makes the module, or None where the artifact describes it.

        Raises:
            ArtifactError: If the file is damaged, or does not fit the module.
        """
        self._model = load(artifact, None if factory is None else imported(factory)())

    def predict(self, inputs: Any) -> Any:
        """Return what the model gives for one array, as an array, or several of them by name.

        Raises:
            TaskError: If it gives no tensors.
        """
        with torch.inference_mode():
            return arrays_of(self._model(torch.from_numpy(np.array(inputs))))


def arrays_of(output: Any) -> Any:
    """Return what a model gives as arrays: of several tensors a mapping, by name or number.

    What lies deeper, such as the state of a recurrent layer, is left out.

    Raises:
        TaskError: If there are no tensors.
    """
    if isinstance(output, torch.Tensor):
        return output.detach().cpu().numpy()
    if isinstance(output, list | tuple):
        output = {f"output_{number}": one for number, one in enumerate(output)}
    named = output.items() if isinstance(output, Mapping) else ()
    found = {str(name): arrays_of(one) for name, one in named if isinstance(one, torch.Tensor)}
    if not found:
        raise TaskError(
            "a model that is served gives tensors, but gave an object of type "
            f"{type(output).__name__} without any"
        )
    return found
