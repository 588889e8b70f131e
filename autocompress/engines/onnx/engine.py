"""ONNX Runtime as an engine: exports models, runs them, and times them."""

from __future__ import annotations

from torch import nn

from autocompress.artifact import Artifact
from autocompress.engines.base import ENGINES, Engine, Latency
from autocompress.engines.onnx.exporter import EXPORTERS, Exporter
from autocompress.engines.onnx.graph import save
from autocompress.engines.onnx.module import SessionModule
from autocompress.engines.onnx.session import open_session
from autocompress.engines.onnx.timing import measure
from autocompress.errors import ExportError

_REFERENCE, _MODEL = "uncompressed", "model"


@ENGINES.register("onnx")
class OnnxEngine(Engine):
    """Runs artifacts of one model in ONNX Runtime, beside that model uncompressed."""

    name = "onnx"
    since = "0.1.0"
    measures_latency = True
    suffix = ".onnx"

    def __init__(self, model: nn.Module, uncompressed: Artifact) -> None:
        """Export the uncompressed model, which latencies are compared with.

        Raises:
            ExportError: If there is no exporter of the model's architecture.
        """
        del model  # what runs is built from artifacts alone
        self._exporter = _exporter_of(uncompressed)
        exact = open_session(self._exporter.export(uncompressed).SerializeToString())
        self._reference = self._exporter.reader(exact)

    def load(self, artifact: Artifact) -> SessionModule:
        """Export an artifact to a file beside it, and return the module that runs that file."""
        path = artifact.path.with_suffix(self.suffix)
        save(self._exporter.export(artifact), path)
        return self._exporter.module(open_session(path.read_bytes()))

    def latency(self, loaded: nn.Module) -> Latency:
        """Measure what an input takes, in turn with the uncompressed model."""
        assert isinstance(loaded, SessionModule), "not what `load` returned"
        readers = {_REFERENCE: self._reference, _MODEL: self._exporter.reader(loaded.session)}
        return measure(readers, self._exporter.inputs(), _REFERENCE)[_MODEL]


def _exporter_of(artifact: Artifact) -> Exporter:
    config = artifact.model_config or {}
    architecture = str(config.get("architecture", ""))
    if architecture not in EXPORTERS:
        raise ExportError(
            "latency is measured in ONNX Runtime, for which models of the architectures "
            f"{', '.join(sorted(EXPORTERS)) or 'none'} can be exported, but this one is of "
            f"{architecture or 'an unknown one'}; choose the engine 'torch' and leave the latency "
            "out, or register an exporter under 'autocompress.onnx'"
        )
    return EXPORTERS[architecture](config)
