"""The digits that the committed model is held against: real scans that no training step has seen."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from training.recipes.digits import load

COMMITTED = Path(__file__).parent.parent / "models" / "digits" / "2"


@functools.cache
def held_out() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images [rows, 8, 8] of 0 to 16, and the digits they show."""
    test = load().test
    return test.inputs, test.targets


@functools.cache
def direct() -> ort.InferenceSession:
    """The committed graph in plain ONNX Runtime."""
    return ort.InferenceSession(str(COMMITTED / "model.onnx"), providers=["CPUExecutionProvider"])


def logits(images: NDArray[np.float32]) -> NDArray[Any]:
    """What a direct call answers, [rows, 10]."""
    answers: NDArray[Any] = direct().run(None, {"image": images})[0]
    return answers
