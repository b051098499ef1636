"""The batch-invariance self-test: who may share a batch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from app.contract.tensors import DataType, InputSpec, OutputSpec, Signature
from app.runtime.invariance import ROWS, is_batch_invariant, needs_equal_rows, samples
from tests import graphs
from tests.runtime import made


def passes(graph: Path) -> bool:
    """Whether any of the made-up samples proves the graph, as for a graph without a manifest."""
    session = made.session_of(graph)
    return any(is_batch_invariant(session, inputs) for inputs in samples(session.signature))


INVARIANT: dict[str, Callable[[Path], Path]] = {
    "a linear layer": graphs.linear,
    "a convolution": made.convolution,
    "strings": lambda path: graphs.identity(path, TensorProto.STRING),
    "integers": lambda path: graphs.identity(path, TensorProto.INT64),
    "booleans": lambda path: graphs.identity(path, TensorProto.BOOL),
    "indices into a table of two": made.looked_up,
    "half precision": lambda path: graphs.identity(path, TensorProto.FLOAT16),
    "images of any size": lambda path: graphs.identity(path, TensorProto.FLOAT, ("N", 3, "H", "W")),
    "rows without columns": lambda path: graphs.identity(path, TensorProto.FLOAT, ("N",)),
    "one step at a time only": lambda path: made.for_length(path, 1),
    "a window of 32 only": lambda path: made.for_length(path, 32),
}
DEPENDENT: dict[str, Callable[[Path], Path]] = {
    "a mean over the rows": graphs.mean_over_rows,
    "a mean over the rows beside an infinite column": made.masked_mean,
    "one int8 scale for the batch": made.dynamically_quantised,
    "an output of four columns that is no batch": made.reduced,
    "rows that become columns": made.transposed,
    "one row however many came": made.one_row_always,
    "two rows made one": lambda path: made.reshaped(path, -1, 8),
    "rows made one": lambda path: made.reshaped(path, 1, -1),
    "exactly four rows": lambda path: made.reshaped(path, 4, 4),
    "exactly one row": lambda path: made.reshaped(path, 1, 4),
    "a window of a size that is not tried": lambda path: made.for_length(path, 5),
}


@pytest.mark.parametrize("make", INVARIANT.values(), ids=INVARIANT)
def test_a_graph_that_works_row_by_row_passes(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    assert passes(make(tmp_path / "m" / "model.onnx"))


@pytest.mark.parametrize("make", DEPENDENT.values(), ids=DEPENDENT)
def test_a_graph_whose_answers_depend_on_the_batch_is_caught(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    assert not passes(make(tmp_path / "m" / "model.onnx"))


@pytest.mark.parametrize("dependent", [False, True])
def test_small_answers_prove_as_much_as_large_ones(tmp_path: Path, dependent: bool) -> None:
    assert passes(faint(tmp_path / "m" / "model.onnx", dependent)) is not dependent


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_rows_prove_nothing(tmp_path: Path, rows: int) -> None:
    session = made.session_of(graphs.mean_over_rows(tmp_path / "m" / "model.onnx"))
    assert not is_batch_invariant(session, {"x": np.ones((rows, 4), np.float32)})


def test_inputs_with_different_numbers_of_rows_prove_nothing(tmp_path: Path) -> None:
    session = made.session_of(made.with_an_idle_input(tmp_path / "m" / "model.onnx"))
    rows = np.ones((4, 4), np.float32)
    assert is_batch_invariant(session, {"x": rows, "z": rows})
    assert not is_batch_invariant(session, {"x": rows[:3], "z": rows})


def faint(path: Path, dependent: bool) -> Path:
    """x [N, 4] -> y [N, 4], less than a millionth in size: x, less the mean of all rows where `dependent`."""
    nodes = [
        graphs.helper.make_node("ReduceMean", ["x", "axes"], ["m"], keepdims=1),
        graphs.helper.make_node("Sub", ["x", "m" if dependent else "zero"], ["d"]),
        graphs.helper.make_node("Mul", ["d", "tiny"], ["y"]),
    ]
    weights = {
        "axes": np.array([0], np.int64),
        "zero": np.zeros(1, np.float32),
        "tiny": np.array([1e-7], np.float32),
    }
    return graphs.save(path, nodes, [graphs.tensor("x", ["N", 4])], [graphs.tensor("y", ["N", 4])], **weights)


def two_names(path: Path, operator: str) -> Path:
    """x [N, 4] and z [M, 4] -> y, element by element."""
    nodes = [graphs.helper.make_node(operator, ["x", "z"], ["y"])]
    inputs = [graphs.tensor("x", ["N", 4]), graphs.tensor("z", ["M", 4])]
    return graphs.save(path, nodes, inputs, [graphs.tensor("y", ["N", 4])])


COMMON_ROWS: list[tuple[Callable[[Path], Path], bool]] = [
    (graphs.linear, True),
    (made.with_an_idle_input, False),
    (made.two_encoders, False),
    (lambda path: two_names(path, "Add"), True),
]


@pytest.mark.parametrize(
    ("make", "common"), COMMON_ROWS, ids=["one input", "an idle input", "two encoders", "a sum of rows"]
)
def test_rows_are_common_unless_the_graph_runs_without_that(
    tmp_path: Path, make: Callable[[Path], Path], common: bool
) -> None:
    session = made.session_of(make(tmp_path / "m" / "model.onnx"))
    (inputs,) = samples(session.signature)
    assert needs_equal_rows(session, inputs) is common


def test_rows_are_common_where_the_graph_says_so(tmp_path: Path) -> None:
    """Even of an input that is not used: its rows have the name of the others."""
    nodes = [graphs.helper.make_node("Neg", ["x"], ["y"])]
    inputs = [graphs.tensor(name, ["N", 4]) for name in ("x", "z")]
    session = made.session_of(graphs.save(tmp_path / "m" / "model.onnx", nodes, inputs, [graphs.tensor("y", ["N", 4])]))
    assert needs_equal_rows(session, samples(session.signature)[0])


def signature(*specs: tuple[DataType, tuple[int, ...]]) -> Signature:
    inputs = tuple(InputSpec(name=f"x{i}", datatype=datatype, shape=shape) for i, (datatype, shape) in enumerate(specs))
    return Signature(inputs=inputs, outputs=(OutputSpec(name="y", datatype=DataType.FP32, shape=(-1,)),))


@pytest.mark.parametrize("datatype", [datatype for datatype in DataType if datatype.numpy])
def test_samples_fit_every_datatype(datatype: DataType) -> None:
    described = signature((datatype, (-1, 4)))
    (inputs,) = samples(described)
    assert inputs["x0"].dtype == datatype.numpy
    assert inputs["x0"].shape == (ROWS, 4)


def test_samples_try_several_sizes_of_the_free_dimensions_alike_for_all_inputs() -> None:
    described = signature((DataType.INT64, (-1, -1)), (DataType.FP32, (-1, -1, 2)))
    sizes = [[array.shape for array in inputs.values()] for inputs in samples(described)]
    assert len(sizes) > 1
    assert all(first == (ROWS, first[1]) and second == (ROWS, first[1], 2) for first, second in sizes)


def test_rows_of_a_sample_differ_in_scale() -> None:
    (inputs,) = samples(signature((DataType.FP32, (-1, 1000))))
    spread = inputs["x0"].std(axis=1)
    assert (np.diff(spread) > 0.1).all()
