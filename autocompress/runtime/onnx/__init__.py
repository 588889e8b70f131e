"""Artifact -> ONNX model, for ONNX Runtime."""

from autocompress.runtime.onnx.export import Form, build, save

__all__ = ["Form", "build", "save"]
