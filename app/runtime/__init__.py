"""ONNX Runtime sessions: loading, proving and running graphs."""
