"""Graphs that are odd in some way, and sessions of them."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from app.runtime.graph_cache import GraphCache
from app.runtime.guard import Graph
from app.runtime.providers import Placement
from app.runtime.session import Session
from tests import graphs


def session_of(graph: Path, cache: Path | None = None, threads: int = 1) -> Session:
    """A CPU session, with a graph cache beside the graph's folder unless told."""
    kept = GraphCache(cache or graph.parent.parent / "graphs")
    return Session.load(Graph.open(graph), Placement(), threads, kept)


def save_with_operators(
    path: Path, nodes: list[onnx.NodeProto], inputs: list[object], outputs: list[object], **opsets: int
) -> Path:
    """A graph that uses operator sets beside ONNX's own; `ml=3` is ai.onnx.ml version 3."""
    graph = helper.make_graph(nodes, "graph", inputs, outputs)
    imports = [helper.make_opsetid("", 20)]
    imports += [helper.make_opsetid(f"ai.onnx.{name}", version) for name, version in opsets.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10), path)
    return path


def class_map(path: Path) -> Path:
    """x [N, 3] -> a sequence of maps, as scikit-learn's classifiers are exported."""
    value = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    output = helper.make_value_info("y", helper.make_sequence_type_proto(value))
    node = helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2])
    return save_with_operators(path, [node], [graphs.tensor("x", ["N", 3])], [output], ml=3)


def sequence(path: Path) -> Path:
    """x [N, 4] -> a sequence of tensors."""
    value = helper.make_tensor_type_proto(TensorProto.FLOAT, ["N", 4])
    output = helper.make_value_info("y", helper.make_sequence_type_proto(value))
    nodes = [helper.make_node("SequenceConstruct", ["x"], ["y"])]
    return graphs.save(path, nodes, [graphs.tensor("x", ["N", 4])], [output])


def optional(path: Path) -> Path:
    """An optional tensor -> whether it is there."""
    value = helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, ["N", 4]))
    nodes = [helper.make_node("OptionalHasElement", ["x"], ["y"])]
    return graphs.save(path, nodes, [helper.make_value_info("x", value)], [graphs.tensor("y", [], TensorProto.BOOL)])


def bfloat16(path: Path) -> Path:
    return graphs.identity(path, TensorProto.BFLOAT16)


def bfloat16_and_words(path: Path) -> Path:
    """A copy of numbers and of strings."""
    nodes = [helper.make_node("Identity", [name], [f"{name} out"]) for name in ("x", "words")]
    kinds = {"x": TensorProto.BFLOAT16, "words": TensorProto.STRING}
    inputs = [graphs.tensor(name, ["N"], kind) for name, kind in kinds.items()]
    return graphs.save(path, nodes, inputs, [graphs.tensor(f"{name} out", ["N"], kind) for name, kind in kinds.items()])


def bfloat16_arithmetic(path: Path) -> Path:
    """x BF16 [N, 4] and a scalar k FP32 -> y BF16 [N, 4] = x * k, and f FP32, the same without rounding."""
    nodes = [
        helper.make_node("Cast", ["x"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "k"], ["f"]),
        helper.make_node("Cast", ["f"], ["y"], to=TensorProto.BFLOAT16),
    ]
    inputs = [graphs.tensor("x", ["N", 4], TensorProto.BFLOAT16), graphs.tensor("k", [])]
    outputs = [graphs.tensor("y", ["N", 4], TensorProto.BFLOAT16), graphs.tensor("f", ["N", 4])]
    return graphs.save(path, nodes, inputs, outputs)


def unknown_rank(path: Path) -> Path:
    """A copy of an input of which not even the number of dimensions is declared."""
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    return graphs.save(path, nodes, values[:1], values[1:])


def no_inputs(path: Path) -> Path:
    """Constants alone."""
    nodes = [helper.make_node("Constant", [], ["y"], value_floats=[1.0, 2.0])]
    return graphs.save(path, nodes, [], [graphs.tensor("y", [2])])


def no_outputs(path: Path) -> Path:
    return graphs.save(path, [helper.make_node("Neg", ["x"], ["y"])], [graphs.tensor("x", ["N", 4])], [])


def output_twice(path: Path) -> Path:
    nodes = [helper.make_node("Neg", ["x"], ["y"])]
    return graphs.save(path, nodes, [graphs.tensor("x", ["N", 4])], [graphs.tensor("y", ["N", 4])] * 2)


def no_utf8(path: Path) -> Path:
    """An input whose name is no text."""
    graphs.identity(path, TensorProto.FLOAT, name="12345")
    path.write_bytes(path.read_bytes().replace(b"12345", b"\xff\xfe\xfd\xfc\xfb"))
    return path


def no_utf8_dimension(path: Path) -> Path:
    """An input with a dimension whose name is no text."""
    graphs.identity(path, TensorProto.FLOAT, ("12345", 4))
    path.write_bytes(path.read_bytes().replace(b"12345", b"\xff\xfe\xfd\xfc\xfb"))
    return path


def input_is_output(path: Path) -> Path:
    """x [N, 4] -> x itself, and y = -x."""
    nodes = [helper.make_node("Neg", ["x"], ["y"])]
    return graphs.save(
        path, nodes, [graphs.tensor("x", ["N", 4])], [graphs.tensor("x", ["N", 4]), graphs.tensor("y", ["N", 4])]
    )


def two_encoders(path: Path) -> Path:
    """texts [T, 4] -> their vectors [T, 4], and images [I, 3] -> theirs [I, 3]: as many of each as one likes."""
    nodes = [helper.make_node("Neg", ["texts"], ["text"]), helper.make_node("Neg", ["images"], ["image"])]
    inputs = [graphs.tensor("texts", ["T", 4]), graphs.tensor("images", ["I", 3])]
    return graphs.save(path, nodes, inputs, [graphs.tensor("text", ["T", 4]), graphs.tensor("image", ["I", 3])])


def scalars(path: Path) -> Path:
    """x and k, both without dimensions -> y = x * k, without dimensions too."""
    nodes = [helper.make_node("Mul", ["x", "k"], ["y"])]
    return graphs.save(path, nodes, [graphs.tensor("x", []), graphs.tensor("k", [])], [graphs.tensor("y", [])])


def scaled(path: Path) -> Path:
    """x [N, 4] and a scalar k, which must not be batched -> y [N, 4]."""
    nodes = [helper.make_node("Mul", ["x", "k"], ["y"])]
    return graphs.save(
        path, nodes, [graphs.tensor("x", ["N", 4]), graphs.tensor("k", [])], [graphs.tensor("y", ["N", 4])]
    )


def with_an_idle_input(path: Path) -> Path:
    """x [N, 4] and z [M, 4], which is not used -> y [N, 4], a copy of x."""
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    inputs = [graphs.tensor("x", ["N", 4]), graphs.tensor("z", ["M", 4])]
    return graphs.save(path, nodes, inputs, [graphs.tensor("y", ["N", 4])])


def reduced(path: Path) -> Path:
    """x [N, 4] -> y [N] as declared, but really the sums of the four columns: a batch axis that is none."""
    nodes = [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)]
    return graphs.save(
        path, nodes, [graphs.tensor("x", ["N", 4])], [graphs.tensor("y", ["M"])], axes=np.array([0], np.int64)
    )


def transposed(path: Path) -> Path:
    """x [N, M] -> y [M, N]: rows become columns."""
    nodes = [helper.make_node("Transpose", ["x"], ["y"])]
    return graphs.save(path, nodes, [graphs.tensor("x", ["N", "M"])], [graphs.tensor("y", ["M", "N"])])


def reshaped(path: Path, *shape: int) -> Path:
    """x [N, 4] -> y, reshaped to a fixed number of rows or columns: it raises for other sizes."""
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    return graphs.save(
        path,
        nodes,
        [graphs.tensor("x", ["N", 4])],
        [graphs.tensor("y", ["M", "K"])],
        shape=np.array(shape, np.int64),
    )


def for_length(path: Path, length: int) -> Path:
    """x [N, T] -> y [N, 3], for T = length only, although T is declared free."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    weights = np.ones((length, 3), np.float32)
    return graphs.save(path, nodes, [graphs.tensor("x", ["N", "T"])], [graphs.tensor("y", ["N", 3])], w=weights)


def up_to(path: Path, rows: int) -> Path:
    """x [N, 4] -> y [N, 4] for at most `rows` rows: each row is scaled from a table of that length, all ones."""
    nodes = [
        helper.make_node("Shape", ["x"], ["count"], start=0, end=1),
        helper.make_node("Squeeze", ["count"], ["n"]),
        helper.make_node("Range", ["zero", "n", "one"], ["indices"]),
        helper.make_node("Gather", ["table", "indices"], ["scale"]),
        helper.make_node("Mul", ["x", "scale"], ["y"]),
    ]
    weights = {
        "zero": np.array(0, np.int64),
        "one": np.array(1, np.int64),
        "table": np.ones((rows, 1), np.float32),
    }
    return graphs.save(path, nodes, [graphs.tensor("x", ["N", 4])], [graphs.tensor("y", ["N", 4])], **weights)


def concatenated(path: Path) -> Path:
    """a [A, 4] and b [B, 4] -> y [A + B, 4], one below the other: first dimensions that are no common rows."""
    nodes = [helper.make_node("Concat", ["a", "b"], ["y"], axis=0)]
    inputs = [graphs.tensor("a", ["A", 4]), graphs.tensor("b", ["B", 4])]
    return graphs.save(path, nodes, inputs, [graphs.tensor("y", ["C", 4])])


def one_row_always(path: Path) -> Path:
    """x [N, 4] -> y, one row of zeros however many came."""
    nodes = [
        helper.make_node("Mul", ["x", "zero"], ["z"]),
        helper.make_node("ReduceMax", ["z", "axes"], ["y"], keepdims=1),
    ]
    weights = {"zero": np.zeros(1, np.float32), "axes": np.array([0], np.int64)}
    return graphs.save(path, nodes, [graphs.tensor("x", ["N", 4])], [graphs.tensor("y", ["M", 4])], **weights)


def looked_up(path: Path) -> Path:
    """x [N, 4], indices into a table of two entries -> y [N, 4]."""
    nodes = [helper.make_node("Gather", ["table", "x"], ["y"])]
    table = np.array([10, 20], np.float32)
    inputs = [graphs.tensor("x", ["N", 4], TensorProto.INT64)]
    return graphs.save(path, nodes, inputs, [graphs.tensor("y", ["N", 4])], table=table)


def dynamically_quantised(path: Path) -> Path:
    """x [N, 4] -> y [N, 3] in int8 with one scale for the whole batch."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["q", "w", "zero"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["products"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["products", "scale"], ["y"]),
    ]
    weights = np.random.default_rng(0).integers(-99, 99, (4, 3)).astype(np.int8)
    return graphs.save(path, nodes, [graphs.tensor("x", ["N", 4])], [graphs.tensor("y", ["N", 3])], w=weights)


def masked_mean(path: Path) -> Path:
    """x [N, 4] -> y [N, 5]: x less the mean of all rows, and a column of minus infinity, as a mask leaves it."""
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["m"], keepdims=1),
        helper.make_node("Sub", ["x", "m"], ["d"]),
        helper.make_node("Pad", ["d", "pads", "fill"], ["y"]),
    ]
    weights = {
        "axes": np.array([0], np.int64),
        "pads": np.array([0, 0, 0, 1], np.int64),
        "fill": np.array(-np.inf, np.float32),
    }
    return graphs.save(path, nodes, [graphs.tensor("x", ["N", 4])], [graphs.tensor("y", ["N", 5])], **weights)


def convolution(path: Path) -> Path:
    """x [N, 3, 8, 8] -> y [N, 16, 8, 8]: convolution, normalisation and ReLU, which the optimiser rewrites."""
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "scale", "bias", "mean", "var"], ["b"]),
        helper.make_node("Relu", ["b"], ["y"]),
    ]
    weights = {"w": random.standard_normal((16, 3, 3, 3)).astype(np.float32)}
    weights |= {name: random.random(16).astype(np.float32) + 0.5 for name in ("scale", "bias", "mean", "var")}
    shape = ["N", 3, 8, 8]
    return graphs.save(path, nodes, [graphs.tensor("x", shape)], [graphs.tensor("y", ["N", 16, 8, 8])], **weights)


def with_weights_beside(path: Path, seed: int = 0) -> Path:
    """x [N, 4] -> y [N, 3] with weights in weights.bin, which the optimiser folds into a product of two."""
    nodes = [helper.make_node("Mul", ["w", "w"], ["squared"]), helper.make_node("MatMul", ["x", "squared"], ["y"])]
    weights = np.random.default_rng(seed).standard_normal((4, 3)).astype(np.float32)
    graphs.save(path, nodes, [graphs.tensor("x", ["N", 4])], [graphs.tensor("y", ["N", 3])], w=weights)
    (path.parent / "weights.bin").unlink(missing_ok=True)
    onnx.save_model(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def weights_of(graph: Path) -> np.ndarray:
    """The weights of a `graphs.linear`."""
    return numpy_helper.to_array(onnx.load(graph).graph.initializer[0])
