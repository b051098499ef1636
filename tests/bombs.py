"""Graphs that ask for more time or memory than there is."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests import graphs
from tests.graphs import tensor

INT64 = TensorProto.INT64


def endless(path: Path) -> Path:
    """x [N, 1] of whole numbers -> y [N, 1], by way of a loop that runs as often as the largest of them says."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["kept"], ["same"])],
        "body",
        [tensor("i", [], INT64), tensor("go", [], TensorProto.BOOL), tensor("kept", ["N", 1], INT64)],
        [tensor("on", [], TensorProto.BOOL), tensor("same", ["N", 1], INT64)],
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["times"], keepdims=0),
        helper.make_node("Loop", ["times", "", "x"], ["y"], body=body),
    ]
    nodes[1].input[1] = ""
    return graphs.save(path, nodes, [tensor("x", ["N", 1], INT64)], [tensor("y", ["N", 1], INT64)])


def expanding(path: Path, operator: str = "Expand") -> Path:
    """x [N, 1] of whole numbers -> y [1], the sum of as many ones as x says, which the operator makes."""
    if operator == "ConstantOfShape":
        make = helper.make_node(operator, ["count"], ["many"], value=numpy_helper.from_array(np.ones(1, np.float32)))
    else:
        make = helper.make_node(operator, ["one", "count"], ["many"])
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Reshape", ["most", "shape"], ["count"]),
        make,
        helper.make_node("ReduceSum", ["many"], ["y"], keepdims=1),
    ]
    weights = {"one": np.ones(1, np.float32), "shape": np.array([1], np.int64)}
    return graphs.save(path, nodes, [tensor("x", ["N", 1], INT64)], [tensor("y", [1])], **weights)


def repeated(path: Path) -> Path:
    """x [N, 1] of whole numbers -> y [M], a row of ones as long as x says: an answer of any size."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Reshape", ["most", "shape"], ["count"]),
        helper.make_node("Expand", ["one", "count"], ["y"]),
    ]
    weights = {"one": np.ones(1, np.float32), "shape": np.array([1], np.int64)}
    return graphs.save(path, nodes, [tensor("x", ["N", 1], INT64)], [tensor("y", ["M"])], **weights)


def constant(path: Path, operator: str, elements: int, times: int = 1) -> Path:
    """x [N] -> y [N], plus the sums of `times` constants of so many elements: the optimiser could make them at load."""
    nodes, weights = [], {"size": np.array([elements], np.int64)}
    for index in range(times):
        if operator == "ConstantOfShape":
            value = numpy_helper.from_array(np.ones(1, np.float32))
            nodes.append(helper.make_node(operator, ["size"], [f"many{index}"], value=value))
        else:
            weights[f"seed{index}"] = np.full(1, index, np.float32)
            nodes.append(helper.make_node(operator, [f"seed{index}", "size"], [f"many{index}"]))
        nodes += [
            helper.make_node("ReduceSum", [f"many{index}"], [f"sum{index}"], keepdims=0),
            helper.make_node("Add", [f"sum{index - 1}+" if index else "x", f"sum{index}"], [f"sum{index}+"]),
        ]
    nodes[-1].output[0] = "y"
    return graphs.save(path, nodes, [tensor("x", ["N"])], [tensor("y", ["N"])], **weights)


def laughs(path: Path, levels: int, *, calls_itself: bool = False) -> Path:
    """x [N] -> y [N]; functions that each call the one before twice stand for 2**levels nodes."""
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("local", 1)]

    def function(level: int) -> onnx.FunctionProto:
        inner = helper.make_node("Neg", ["a"], ["b"])
        if level:
            inner = helper.make_node(f"f{level - 1}", ["a"], ["b"], domain="local")
        elif calls_itself:
            inner = helper.make_node(f"f{levels}", ["a"], ["b"], domain="local")
        outer = helper.make_node(inner.op_type, ["b"], ["c"], domain=inner.domain)
        return helper.make_function("local", f"f{level}", ["a"], ["c"], [inner, outer], opsets)

    node = helper.make_node(f"f{levels}", ["x"], ["y"], domain="local")
    graph = helper.make_graph([node], "graph", [tensor("x", ["N"])], [tensor("y", ["N"])])
    functions = [function(level) for level in range(levels + 1)]
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, functions=functions, opset_imports=opsets, ir_version=10), path)
    return path
