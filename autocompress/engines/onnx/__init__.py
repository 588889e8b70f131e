"""The ONNX engine: how weights and cells run in ONNX Runtime. Beside it, only
`lm/onnx` imports ONNX.
"""
