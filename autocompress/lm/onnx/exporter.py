"""What the ONNX engine has to know of language models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime

from autocompress.artifact import Artifact
from autocompress.engines.onnx.exporter import Exporter
from autocompress.errors import ExportError
from autocompress.lm.config import LanguageModelConfig
from autocompress.lm.onnx.build import build
from autocompress.lm.onnx.modules import StepModel
from autocompress.lm.onnx.stepper import Stepper

_WORDS = 40  # that a round of timing reads


class LanguageModelExporter(Exporter):
    """Exports language models in the form that takes one word at a time, as a keyboard does."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Prepare for a model.

        Raises:
            ExportError: If the description is not that of a language model.
        """
        found = LanguageModelConfig.of_artifact(config)
        if found is None:
            raise ExportError(f"only language models are exported here, not {dict(config)}")
        self._config = found

    def export(self, artifact: Artifact) -> onnx.ModelProto:
        """Return the step model, whose outputs are the logits of all words."""
        return build(artifact)

    def module(self, session: onnxruntime.InferenceSession) -> StepModel:
        """Return what reads texts word by word."""
        return StepModel(session)

    def reader(self, session: onnxruntime.InferenceSession) -> Stepper:
        """Return what reads one endless text."""
        return Stepper(session)

    def inputs(self) -> Sequence[int]:
        """Return word ids, all words equally likely."""
        ids = np.random.default_rng(0).integers(self._config.vocab_size, size=_WORDS)
        words: list[int] = ids.tolist()
        return words
