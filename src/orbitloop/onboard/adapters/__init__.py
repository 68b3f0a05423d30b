"""The rim of the satellite: ONNX Runtime and files."""
