"""Language models in ONNX Runtime: word by word, or whole texts."""

from autocompress.lm.onnx.export import Form, build, save

__all__ = ["Form", "build", "save"]
