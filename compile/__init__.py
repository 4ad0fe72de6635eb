"""From an ONNX file to an artifact for a device; the only room that imports onnx and tvm."""
