"""Language models in ONNX Runtime: word by word, or whole texts."""

from autocompress.lm.onnx.build import Form, build

__all__ = ["Form", "build"]
