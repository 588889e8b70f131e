"""The ONNX engine: how weights and cells run in ONNX Runtime."""
