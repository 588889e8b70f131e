"""What turns the artifacts of one architecture into ONNX models: the protocol, and by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx
import onnxruntime

from autocompress.artifact import Artifact
from autocompress.engines.onnx.module import SessionModule
from autocompress.registry import Registry


class Exporter(ABC):
    """Exports the artifacts of one model, and runs what was exported.

    The graph is built of the weights of `engines.onnx.maps` and the layers of
    `engines.onnx.cells`.
    """

    @abstractmethod
    def __init__(self, config: Mapping[str, Any]) -> None:
        """Prepare for a model.

        Args:
            config: What the artifact says of the model, the key "architecture" included.

        Raises:
            ExportError: If the model has no form in ONNX.
        """

    @abstractmethod
    def export(self, artifact: Artifact) -> onnx.ModelProto:
        """Return the ONNX model, in the form that is deployed and timed.

        Raises:
            ArtifactError: If the artifact is damaged.
            ExportError: If it has no form in ONNX.
        """

    @abstractmethod
    def module(self, session: onnxruntime.InferenceSession) -> SessionModule:
        """Return what tasks evaluate in place of the torch model."""

    @abstractmethod
    def reader(self, session: onnxruntime.InferenceSession) -> Callable[[Any], object]:
        """Return what reads one input after another as a deployed program would."""

    @abstractmethod
    def inputs(self) -> Sequence[Any]:
        """Return what the readers are timed on: the same inputs each time."""


EXPORTERS: Registry[type[Exporter]] = Registry("exporter to ONNX", "autocompress.onnx")
"""The exporters by architecture; all are found by entry points."""
