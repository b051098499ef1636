"""Small ONNX graphs, made where they are needed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str]

# The protocol's names (https://github.com/kserve/open-inference-protocol, "Tensor Data Types") and onnx's.
KINDS = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BF16": TensorProto.BFLOAT16,
    "BYTES": TensorProto.STRING,
}


def save(
    path: Path, nodes: list[onnx.NodeProto], inputs: list[object], outputs: list[object], **weights: np.ndarray
) -> Path:
    """A graph of these nodes in a file; the folders above it are made."""
    graph = helper.make_graph(
        nodes, "graph", inputs, outputs, [numpy_helper.from_array(array, name) for name, array in weights.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def tensor(name: str, shape: Shape, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def linear(path: Path, rows: int | str = "N", width: int = 4, seed: int = 0) -> Path:
    """x [rows, width] -> y [rows, 3], row by row."""
    weights = np.random.default_rng(seed).standard_normal((width, 3)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    return save(path, nodes, [tensor("x", [rows, width])], [tensor("y", [rows, 3])], w=weights)


def outer_sum(path: Path) -> Path:
    """a [A, 2], b [B, 2] -> y [A, B]: two free first dimensions that have nothing to do with each other."""
    nodes = [
        helper.make_node("Transpose", ["b"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["a", "t"], ["y"]),
    ]
    return save(path, nodes, [tensor("a", ["A", 2]), tensor("b", ["B", 2])], [tensor("y", ["A", "B"])])


def sum_and_difference(path: Path) -> Path:
    """a and b, INT32 [N, 4] -> sum and difference: Triton's model `simple`."""
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Sub", ["a", "b"], ["difference"])]
    inputs, outputs = (
        [tensor(name, ["N", 4], TensorProto.INT32) for name in names] for names in (("a", "b"), ("sum", "difference"))
    )
    return save(path, nodes, inputs, outputs)


def mean_over_rows(path: Path) -> Path:
    """x [N, 4] -> y [N, 4] = x - mean of all rows: an answer depends on the rows beside it."""
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["m"], keepdims=1),
        helper.make_node("Sub", ["x", "m"], ["y"]),
    ]
    return save(path, nodes, [tensor("x", ["N", 4])], [tensor("y", ["N", 4])], axes=np.array([0], np.int64))


def identity(path: Path, kind: int, shape: Shape = ("N", 4), name: str = "x") -> Path:
    """A copy of its input, in any datatype, under any name."""
    nodes = [helper.make_node("Identity", [name], ["y"])]
    return save(path, nodes, [tensor(name, shape, kind)], [tensor("y", shape, kind)])


def pooled(path: Path, masked: bool = True) -> Path:
    """ids [N, T], 0 where there is none -> y [N, 3], the mean of their vectors, and t [N, T, 3], the vectors.

    Unless `masked`, the mean counts zeros too, so that it changes where more of them follow.
    """
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["vectors"]),
        helper.make_node("Cast", ["ids"], ["is_there"], to=TensorProto.BOOL),
        helper.make_node("Cast", ["is_there"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["vectors", "column"], ["t"]),
        helper.make_node("ReduceSum", ["t", "length"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "length"], ["count"], keepdims=1),
        helper.make_node("Max", ["count", "one"], ["divisor"]),
        helper.make_node("Div", ["sum", "divisor"], ["masked"]),
        helper.make_node("ReduceMean", ["t", "length"], ["plain"], keepdims=0),
        helper.make_node("Identity", ["masked" if masked else "plain"], ["y"]),
    ]
    weights = {
        "table": np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32),
        "last": np.array([2], np.int64),
        "length": np.array([1], np.int64),
        "one": np.array([[1]], np.float32),
    }
    inputs = [tensor("ids", ["N", "T"], TensorProto.INT64)]
    return save(path, nodes, inputs, [tensor("y", ["N", 3]), tensor("t", ["N", "T", 3])], **weights)


POOLED: dict[str, np.ndarray] = {"ids": np.random.default_rng(1).integers(1, 100, (8, 12))}
"""Inputs of `pooled`, without a 0 among them."""


def refuses_negative(path: Path) -> Path:
    """x [N, 4] -> y [N, 4]: Gather with the row's first value as index; a value outside 0..3 makes the graph raise."""
    nodes = [
        helper.make_node("Cast", ["x"], ["indices"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "indices"], ["y"], axis=0),
    ]
    table = np.array([10, 20, 30, 40], np.float32)
    return save(path, nodes, [tensor("x", ["N", 4])], [tensor("y", ["N", 4])], table=table)


def square_root(path: Path) -> Path:
    """x [N, 4] -> y [N, 4]: NaN for what is negative."""
    return save(path, [helper.make_node("Sqrt", ["x"], ["y"])], [tensor("x", ["N", 4])], [tensor("y", ["N", 4])])


def slow(path: Path, repeats: int = 200, size: int = 512) -> Path:
    """x [N, size] -> y [N, size]: enough matrix products to take tens of milliseconds."""
    weights = np.roll(np.eye(size, dtype=np.float32), 1, axis=0)
    names = ["x", *(f"h{index}" for index in range(repeats - 1)), "y"]
    nodes = [helper.make_node("MatMul", [names[i], "w"], [names[i + 1]]) for i in range(repeats)]
    return save(path, nodes, [tensor("x", ["N", size])], [tensor("y", ["N", size])], w=weights)


def recognises(path: Path, content: bytes, shape: Shape = ("N",)) -> Path:
    """x, strings of any bytes -> y BOOL: whether one is this, to the byte."""
    known = helper.make_tensor("known", TensorProto.STRING, [1], [content])
    inputs, outputs = [tensor("x", shape, TensorProto.STRING)], [tensor("y", shape, TensorProto.BOOL)]
    graph = helper.make_graph([helper.make_node("Equal", ["x", "known"], ["y"])], "graph", inputs, outputs, [known])
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path
