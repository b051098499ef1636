"""A network's answers to rows: from PyTorch, and from ONNX Runtime as it will serve them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from torch import nn


def net_answers(net: nn.Module, inputs: NDArray[Any]) -> NDArray[np.float32]:
    """Answers of a net in eval mode; [rows, ...] -> [rows, ...]."""
    with torch.inference_mode():
        answers: NDArray[np.float32] = net(torch.from_numpy(inputs)).numpy()
    return answers


def open_graph(path: Path) -> InferenceSession:
    """The graph on the CPU, with every optimisation, as the server opens it."""
    return InferenceSession(path, providers=["CPUExecutionProvider"])


def graph_answers(graph: InferenceSession, inputs: NDArray[Any]) -> NDArray[np.float32]:
    """Answers of a graph with one input and one output; [rows, ...] -> [rows, ...]."""
    (declared,) = graph.get_inputs()
    (answers,) = graph.run(None, {declared.name: inputs})
    found: NDArray[np.float32] = answers
    return found
