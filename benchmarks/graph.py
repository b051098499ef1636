"""A builder of ONNX graphs with seeded random weights."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.wire import Array

OPSET = 20
IR_VERSION = 10
KINDS = {"FP32": TensorProto.FLOAT, "INT64": TensorProto.INT64}
Shape = list[int | str]


class Graph:
    """Every method adds something and returns the name by which later nodes refer to it."""

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, datatype: str, shape: Shape) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, KINDS[datatype], shape))
        return name

    def constant(self, array: Array) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(array, name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def number(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def weight(self, *shape: int, scale: float) -> str:
        return self.constant((self._random.standard_normal(shape) * scale).astype(np.float32))

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"n{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def linear(self, x: str, width: int, to: int) -> str:
        product = self.node("MatMul", x, self.weight(width, to, scale=width**-0.5))
        return self.node("Add", product, self.weight(to, scale=0.02))

    def convolution(self, x: str, channels: int, to: int, size: int, stride: int = 1, gain: float = 1.0) -> str:
        """With a bias, as an export has it whose batch normalisation is folded."""
        weight = self.weight(to, channels, size, size, scale=gain * (2 / (channels * size * size)) ** 0.5)
        pads = [size // 2] * 4
        return self.node("Conv", x, weight, self.weight(to, scale=0.02), strides=[stride, stride], pads=pads)

    def layer_norm(self, x: str, width: int) -> str:
        ones, zeros = np.ones(width, np.float32), np.zeros(width, np.float32)
        return self.node("LayerNormalization", x, self.constant(ones), self.constant(zeros), axis=-1)

    def save(self, path: Path, output: str, name: str, shape: Shape) -> Path:
        """Writes the graph with one output; the folders above the file are made."""
        self._nodes.append(helper.make_node("Identity", [output], [name]))
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
        graph = helper.make_graph(self._nodes, "benchmark", self._inputs, outputs, self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, path)
        return path
