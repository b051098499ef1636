"""Bonsai's offline job: train a network, fold it, export it, measure it, publish it as a model version."""

import app  # noqa: F401  turns off ONNX Runtime's usage upload, which has to happen before its first import
