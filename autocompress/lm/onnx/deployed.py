"""Plans as they would be deployed: run by ONNX Runtime, and timed there."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from autocompress.artifact import Artifact, open_artifact
from autocompress.encoding.encoder import Encoder, uncompressed_plan
from autocompress.engines.onnx.session import StepModel, open_session
from autocompress.engines.onnx.timing import Latency, Stepper, measure
from autocompress.errors import ExportError
from autocompress.knowledge.source import Source
from autocompress.lm.onnx.export import build, save
from autocompress.outcome.results import ONNX

_REFERENCE, _MODEL = "uncompressed", "model"


class Deployed:
    """Runs artifacts of one model in ONNX Runtime, beside that model uncompressed."""

    def __init__(self, source: Source) -> None:
        """Export the uncompressed model.

        Raises:
            ExportError: If the model has no form in ONNX.
        """
        if (source.model_config or {}).get("architecture") != "recurrent_lm":
            raise ExportError(
                "latency is measured in ONNX Runtime, for which only language models of this "
                "package can be exported; leave the latency budget out"
            )
        with TemporaryDirectory() as folder:
            path = Path(folder) / "model.acz"
            Encoder(source).write(uncompressed_plan(source), path)
            session = open_session(build(open_artifact(path)).SerializeToString())
        self._reference = Stepper(session)
        self._words = len(source.weights.weights["embedding.weight"].matrix)

    def load(self, artifact: Artifact) -> StepModel:
        """Export an artifact to a file beside it, and return the model that runs it."""
        path = artifact.path.with_suffix(ONNX)
        save(build(artifact), path)
        return StepModel(open_session(path.read_bytes()))

    def latency(self, model: StepModel) -> Latency:
        """Measure what a word takes, in turn with the uncompressed model."""
        models = {_REFERENCE: self._reference, _MODEL: Stepper(model.session)}
        return measure(models, self._words, _REFERENCE)[_MODEL]
