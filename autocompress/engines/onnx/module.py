"""An ONNX model in the place of a torch module."""

from __future__ import annotations

import onnxruntime
from torch import nn


class SessionModule(nn.Module):
    """Stands in for a model: computes in ONNX Runtime, activations quantized and all.

    Attributes:
        session: The model in ONNX Runtime.
    """

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        super().__init__()
        self.session = session
