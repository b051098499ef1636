"""Graphs that cannot be served, and what is said of each."""

from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from tests import graphs
from tests.graphs import tensor
from tests.runtime import made

CARRIED = "is not a tensor that the Open Inference Protocol can carry"


def sparse(path: Path) -> Path:
    """x, a sparse tensor that is not used, and z [N, 4] -> y = -z."""
    inputs = [helper.make_sparse_tensor_value_info("x", TensorProto.FLOAT, ["N", 4]), tensor("z", ["N", 4])]
    return graphs.save(path, [helper.make_node("Neg", ["z"], ["y"])], inputs, [tensor("y", ["N", 4])])


def eight_bit_floats(path: Path) -> Path:
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)]
    inputs = [tensor("x", ["N", 4], TensorProto.FLOAT8E4M3FN)]
    return graphs.save(path, nodes, inputs, [tensor("y", ["N", 4])])


def foreign_operator(path: Path) -> Path:
    """An operator of somebody's own library."""
    graph = helper.make_graph(
        [helper.make_node("Frobnicate", ["x"], ["y"], domain="com.example")],
        "graph",
        [tensor("x", ["N", 4])],
        [tensor("y", ["N", 4])],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.example", 1)]
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "class-map": (made.class_map, f"output 'y': type seq(map(int64,tensor(float))) {CARRIED}"),
    "sequence": (made.sequence, f"output 'y': type seq(tensor(float)) {CARRIED}"),
    "optional": (made.optional, f"input 'x': type optional(tensor(float)) {CARRIED}"),
    "sparse": (sparse, f"input 'x': type sparse_tensor(float) {CARRIED}"),
    "eight-bit-floats": (eight_bit_floats, f"input 'x': type tensor(float8e4m3fn) {CARRIED}"),
    "no-inputs": (made.no_inputs, "inputs: expected at least one, got none"),
    "no-outputs": (made.no_outputs, "outputs: expected at least one, got none"),
    "output-twice": (made.output_twice, "outputs: expected names that differ, got 'y' twice"),
    "no-utf8": (made.no_utf8, "NodeProto.input is no UTF-8"),
    "foreign-operator": (foreign_operator, "Frobnicate"),
}
"""By the name of their folder: how each is made, and what is said of it."""
