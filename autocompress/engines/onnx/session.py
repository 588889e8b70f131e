"""An ONNX model at work."""

from __future__ import annotations

import onnxruntime

_ERRORS_ONLY = 3


def open_session(model: bytes) -> onnxruntime.InferenceSession:
    """Open a serialized model in ONNX Runtime, on one thread of the processor."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
