"""Graphs as other people make them: every one is valid, and odd in a way of its own."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests import graphs
from tests.graphs import tensor
from tests.runtime import made

Make = Callable[[Path], Path]

NAMES = ("input.1", "a b/c:0", 'say "x"', "back\\slash", "two\nlines", "Ünïcode ☃", "../x", "%s {0}", "x" * 5000)


def names(path: Path) -> Path:
    """A copy of every input; inputs and outputs have names of every kind."""
    nodes = [helper.make_node("Neg", [name], [f"{name}/out"]) for name in NAMES]
    outputs = [tensor(f"{name}/out", ["N", 2]) for name in NAMES]
    return graphs.save(path, nodes, [tensor(name, ["N", 2]) for name in NAMES], outputs)


def total(path: Path) -> Path:
    """x [N, 4] -> y, one number, and count, another."""
    nodes = [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0), helper.make_node("Size", ["x"], ["count"])]
    outputs = [tensor("y", []), tensor("count", [], TensorProto.INT64)]
    return graphs.save(path, nodes, [tensor("x", ["N", 4])], outputs)


def softmax(path: Path, axis: int) -> Path:
    """x [N, A, B] -> y, of which the values along an axis sum to 1."""
    nodes = [helper.make_node("Softmax", ["x"], ["y"], axis=axis)]
    return graphs.save(path, nodes, [tensor("x", ["N", "A", "B"])], [tensor("y", ["N", "A", "B"])])


def no_nodes(path: Path) -> Path:
    """x [N, 4] -> x: nothing is computed at all."""
    return graphs.save(path, [], [tensor("x", ["N", 4])], [tensor("x", ["N", 4])])


def constant_output(path: Path) -> Path:
    """x [N, 4] -> y = -x, and w [2], which no input has to do with."""
    nodes = [helper.make_node("Neg", ["x"], ["y"])]
    weights = np.array([1, 2], np.float32)
    return graphs.save(path, nodes, [tensor("x", ["N", 4])], [tensor("y", ["N", 4]), tensor("w", [2])], w=weights)


def unconsumed(path: Path) -> Path:
    """x [N, 4] -> y [N, 2], the largest values; where they were, nobody asks, and z leads nowhere."""
    nodes = [
        helper.make_node("TopK", ["x", "k"], ["y", "indices"], axis=-1),
        helper.make_node("Neg", ["x"], ["z"]),
    ]
    return graphs.save(path, nodes, [tensor("x", ["N", 4])], [tensor("y", ["N", 2])], k=np.array([2], np.int64))


def one_value_two_names(path: Path) -> Path:
    """x [N, 4] -> y and z, the same value, and hidden, which both are made of."""
    nodes = [
        helper.make_node("Neg", ["x"], ["hidden"]),
        helper.make_node("Exp", ["hidden"], ["e"]),
        helper.make_node("Identity", ["e"], ["y"]),
        helper.make_node("Identity", ["e"], ["z"]),
    ]
    outputs = [tensor(name, ["N", 4]) for name in ("y", "z", "hidden")]
    return graphs.save(path, nodes, [tensor("x", ["N", 4])], outputs)


def seen_otherwise(path: Path) -> Path:
    """x [N, 2, 2] -> y [N, 4], the same memory in another shape."""
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    shape = np.array([-1, 4], np.int64)
    return graphs.save(path, nodes, [tensor("x", ["N", 2, 2])], [tensor("y", ["N", 4])], shape=shape)


def idle_input(path: Path) -> Path:
    """x [N, 4] and z [N, 4], which is not used -> y = -x."""
    nodes = [helper.make_node("Neg", ["x"], ["y"])]
    return graphs.save(path, nodes, [tensor("x", ["N", 4]), tensor("z", ["N", 4])], [tensor("y", ["N", 4])])


def with_default(path: Path, ir_version: int = 10) -> Path:
    """x [N, 4] -> y = x + b, where b is listed as an input and has a value of its own.

    Before IR version 4 every weight had to be listed so; since then it may be overridden
    (https://onnx.ai/onnx/repo-docs/IR.html, "Graphs").
    """
    node = helper.make_node("Add", ["x", "b"], ["y"])
    inputs = [tensor("b", [4]), tensor("x", ["N", 4])]
    weights = [numpy_helper.from_array(np.array([0.5, 1, 2, 4], np.float32), "b")]
    graph = helper.make_graph([node], "graph", inputs, [tensor("y", ["N", 4])], weights)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 8)], ir_version=ir_version), path)
    return path


def unknown_rank_output(path: Path) -> Path:
    """x [N, 4] and cuts -> y, of which the graph does not even say how many dimensions it has."""
    nodes = [
        helper.make_node("If", ["flat"], ["y"], then_branch=_branch("Flatten"), else_branch=_branch("Unsqueeze")),
    ]
    inputs = [tensor("x", ["N", 4]), tensor("flat", [], TensorProto.BOOL)]
    return graphs.save(
        path, nodes, inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], axis=np.array([0])
    )


def _branch(operator: str) -> onnx.GraphProto:
    node = helper.make_node(operator, ["x", "axis"] if operator == "Unsqueeze" else ["x"], ["b"])
    return helper.make_graph([node], operator, [], [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)])


def nonzero(path: Path) -> Path:
    """x BOOL [N, 4] -> y INT64 [2, K]: how many columns it has depends on the values."""
    nodes = [helper.make_node("NonZero", ["x"], ["y"])]
    inputs, outputs = [tensor("x", ["N", 4], TensorProto.BOOL)], [tensor("y", [2, "K"], TensorProto.INT64)]
    return graphs.save(path, nodes, inputs, outputs)


def joined_words(path: Path) -> Path:
    """Two columns of strings -> each pair as one."""
    nodes = [helper.make_node("StringConcat", ["a", "b"], ["y"])]
    inputs = [tensor(name, ["N"], TensorProto.STRING) for name in ("a", "b")]
    return graphs.save(path, nodes, inputs, [tensor("y", ["N"], TensorProto.STRING)])


def labels(path: Path) -> Path:
    """Strings -> their numbers, -1 for those that are not known."""
    node = helper.make_node(
        "LabelEncoder",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        keys_strings=["a", "naïve ☃"],
        values_int64s=[1, 2],
        default_int64=-1,
    )
    inputs = [tensor("x", ["N", 3], TensorProto.STRING)]
    return made.save_with_operators(path, [node], inputs, [tensor("y", ["N", 3], TensorProto.INT64)], ml=4)


def product(path: Path, kind: int) -> Path:
    """a [N, 3] and b [N, 3] -> y = a * b, in another type than float32."""
    nodes = [helper.make_node("Mul", ["a", "b"], ["y"])]
    inputs = [tensor(name, ["N", 3], kind) for name in ("a", "b")]
    return graphs.save(path, nodes, inputs, [tensor("y", ["N", 3], kind)])


SERVED: dict[str, Make] = {
    f"copy-{name}": partial(graphs.identity, kind=kind) for name, kind in graphs.KINDS.items() if name != "BF16"
}
SERVED |= {
    "product-fp16": partial(product, kind=TensorProto.FLOAT16),
    "product-fp64": partial(product, kind=TensorProto.DOUBLE),
    "product-int64": partial(product, kind=TensorProto.INT64),
    "product-uint8": partial(product, kind=TensorProto.UINT8),
    "names": names,
    "scalar-input": made.scaled,
    "scalars": made.scalars,
    "scalar-outputs": total,
    "vector": partial(graphs.identity, kind=TensorProto.FLOAT, shape=("N",)),
    "free-dimensions": partial(softmax, axis=-1),
    "no-names-of-dimensions": partial(graphs.identity, kind=TensorProto.FLOAT, shape=("", -1)),
    "softmax-over-rows": partial(softmax, axis=0),
    "mean-over-rows": graphs.mean_over_rows,
    "sum-of-rows": made.reduced,
    "one-scale-for-the-batch": made.dynamically_quantised,
    "rows-become-columns": made.transposed,
    "two-free-first-dimensions": graphs.outer_sum,
    "one-below-the-other": made.concatenated,
    "one-row-always": made.one_row_always,
    "exactly-one-row": partial(graphs.linear, rows=1),
    "exactly-three-rows": partial(graphs.linear, rows=3),
    "no-columns": partial(graphs.identity, kind=TensorProto.FLOAT, shape=("N", 0)),
    "no-rows": partial(graphs.identity, kind=TensorProto.FLOAT, shape=(0, 3)),
    "input-is-output": made.input_is_output,
    "no-nodes": no_nodes,
    "constant-output": constant_output,
    "one-value-two-names": one_value_two_names,
    "seen-otherwise": seen_otherwise,
    "unconsumed": unconsumed,
    "idle-input": idle_input,
    "idle-input-of-other-rows": made.with_an_idle_input,
    "two-encoders": made.two_encoders,
    "default-input": with_default,
    "weights-as-inputs": partial(with_default, ir_version=3),
    "unknown-rank-output": unknown_rank_output,
    "as-many-as-there-are": nonzero,
    "joined-words": joined_words,
    "labels": labels,
    "indices": made.looked_up,
    "weights-beside": made.with_weights_beside,
    "convolution": made.convolution,
}
"""Graphs that are served, by the name of their folder."""

ALONE = {
    "scalar-input",
    "scalars",
    "scalar-outputs",
    "softmax-over-rows",
    "mean-over-rows",
    "sum-of-rows",
    "one-scale-for-the-batch",
    "rows-become-columns",
    "two-free-first-dimensions",
    "two-encoders",
    "idle-input-of-other-rows",
    "one-below-the-other",
    "one-row-always",
    "exactly-one-row",
    "exactly-three-rows",
    "no-rows",
    "constant-output",
    "unknown-rank-output",
    "as-many-as-there-are",
}
"""Those whose first dimensions are no rows, so that each request is one run; the others share runs."""
