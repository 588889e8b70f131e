"""The torch engine: weights decoded to single precision, or running from their factors."""

from autocompress.engines.torch.engine import TorchEngine
from autocompress.engines.torch.loading import fill, load

__all__ = ["TorchEngine", "fill", "load"]
