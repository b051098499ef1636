"""A graph's answers to rows, from ONNX Runtime as it will serve them."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession

BATCH_ROWS = 500
"""Rows at once, so that the activations of a large set fit into memory."""


def batches(inputs: NDArray[Any]) -> list[NDArray[Any]]:
    """The rows in their order, BATCH_ROWS at once and the rest."""
    return np.split(inputs, range(BATCH_ROWS, len(inputs), BATCH_ROWS))


def open_graph(path: Path) -> InferenceSession:
    """The graph on the CPU, with every optimisation, as the server opens it."""
    return InferenceSession(path, providers=["CPUExecutionProvider"])


def graph_answers(graph: InferenceSession, inputs: NDArray[Any]) -> NDArray[np.float32]:
    """Answers of a graph with one input and one output; [rows, ...] -> [rows, ...]."""
    (declared,) = graph.get_inputs()
    return np.concatenate([graph.run(None, {declared.name: batch})[0] for batch in batches(inputs)])
