"""Bonsai's offline job: train a network, cut and fold it, export it, measure it, publish it as a model version.

from training.own import Evaluation, compile
"""

import app  # noqa: F401  turns off ONNX Runtime's usage upload, which has to happen before its first import
