"""Bonsai's model server."""

import os
from importlib.metadata import PackageNotFoundError, version

# ONNX Runtime reads this once, when it is first imported; its Linux wheels upload usage data by default.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

try:
    __version__ = version("bonsai-serve")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"
