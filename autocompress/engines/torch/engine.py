"""PyTorch as an engine: fills a copy of the user's model with an artifact's weights."""

from __future__ import annotations

from torch import nn

from autocompress.artifact import Artifact
from autocompress.engines.base import ENGINES, Engine
from autocompress.engines.torch.loading import fill


@ENGINES.register("torch")
class TorchEngine(Engine):
    """Runs artifacts of one model in a copy of it, their weights decoded to single precision."""

    name = "torch"
    since = "0.1.0"

    def __init__(self, model: nn.Module, uncompressed: Artifact) -> None:
        del uncompressed
        self._model = model

    def run_on(self, device: str) -> None:
        """Run on a device what is loaded from now on."""
        self._model.to(device)

    def load(self, artifact: Artifact) -> nn.Module:
        """Return the copy, filled with an artifact's weights."""
        return fill(self._model, artifact)
