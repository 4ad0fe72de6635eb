"""What each ONNX operator becomes in the graph; nothing is fused here."""
