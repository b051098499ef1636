"""Sessions: what loads, what runs, and what is said where it does not."""

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from app.contract.tensors import DataType
from app.errors import ExecutionFailed, LoadFailed, NotReady
from app.protocol.messages import Array, Halt
from app.runtime.graph_cache import GraphCache
from app.runtime.guard import Graph
from app.runtime.providers import CPU, Placement
from app.runtime.session import BRIEFLY, Session
from tests import graphs
from tests.collector import no_collector
from tests.runtime import made

BROKEN: dict[str, bytes] = {
    "empty": b"",
    "random bytes": np.random.default_rng(0).bytes(5000),
    "a web page": b"<!DOCTYPE html><html><body>404: not found</body></html>",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
}


def refusal(graph: Path) -> str:
    """What is said about a graph that cannot be loaded."""
    with pytest.raises(LoadFailed) as raised:
        made.session_of(graph)
    return str(raised.value)


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_file_that_is_no_graph_is_refused_without_its_path(tmp_path: Path, content: bytes) -> None:
    graph = tmp_path / "m" / "model.onnx"
    graph.parent.mkdir()
    graph.write_bytes(content)
    said = refusal(graph)
    assert said.startswith("model.onnx: ")
    assert str(tmp_path) not in said


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_truncated_graph_is_refused_without_its_path(tmp_path: Path, kept: float) -> None:
    graph = graphs.linear(tmp_path / "m" / "model.onnx")
    content = graph.read_bytes()
    graph.write_bytes(content[: int(len(content) * kept)])
    assert str(tmp_path) not in refusal(graph)


def test_a_missing_graph_is_refused_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    said = refusal(tmp_path / "m" / "model.onnx")
    assert said == "model.onnx: expected a plain file, got none"


def test_a_missing_folder_is_refused_without_its_path(tmp_path: Path) -> None:
    assert str(tmp_path) not in refusal(tmp_path / "m" / "model.onnx")


def test_weights_that_are_missing_beside_the_graph_are_refused_without_a_path(tmp_path: Path) -> None:
    graph = made.with_weights_beside(tmp_path / "m" / "model.onnx")
    (graph.parent / "weights.bin").unlink()
    assert str(tmp_path) not in refusal(graph)


def test_an_operator_that_nobody_knows_is_refused_by_name(tmp_path: Path) -> None:
    node = made.helper.make_node("Frobnicate", ["x"], ["y"], domain="ai.onnx.ml")
    graph = made.save_with_operators(
        tmp_path / "m" / "model.onnx", [node], [graphs.tensor("x", ["N", 4])], [graphs.tensor("y", ["N", 4])], ml=3
    )
    assert "Frobnicate" in refusal(graph)


UNSERVABLE: list[tuple[Callable[[Path], Path], str]] = [
    (made.class_map, r"^output 'y': type seq\(map\(int64,tensor\(float\)\)\) is not a tensor"),
    (made.sequence, r"^output 'y': type seq\(tensor\(float\)\) is not a tensor"),
    (made.optional, r"^input 'x': type optional\(tensor\(float\)\) is not a tensor"),
    (made.no_inputs, "^inputs: expected at least one, got none$"),
    (made.no_outputs, "^outputs: expected at least one, got none$"),
    (made.output_twice, "^outputs: expected names that differ, got 'y' twice$"),
    (made.no_utf8, r"NodeProto\.input is no UTF-8$"),
    (made.no_utf8_dimension, "^inputs: expected names in UTF-8, got bytes that are not$"),
    (made.bfloat16_and_words, "BF16 inputs and outputs: expected no BYTES input beside them"),
]


@pytest.mark.parametrize(("make", "said"), UNSERVABLE, ids=[make.__name__ for make, _ in UNSERVABLE])
def test_what_a_request_cannot_carry_is_refused_by_name(
    tmp_path: Path, make: Callable[[Path], Path], said: str
) -> None:
    with pytest.raises(LoadFailed, match=said):
        made.session_of(make(tmp_path / "m" / "model.onnx"))


@pytest.mark.xfail(reason="ONNX Runtime describes an unknown rank and a scalar alike: shape []", strict=True)
def test_an_input_of_unknown_rank_is_not_taken_for_a_scalar(tmp_path: Path) -> None:
    session = made.session_of(made.unknown_rank(tmp_path / "m" / "model.onnx"))
    assert session.signature.inputs[0].matches((2, 4))


def test_the_signature_is_that_of_the_graph(tmp_path: Path) -> None:
    signature = made.session_of(made.scaled(tmp_path / "m" / "model.onnx")).signature
    described = [(spec.name, spec.datatype, spec.shape) for spec in (*signature.inputs, *signature.outputs)]
    assert described == [("x", DataType.FP32, (-1, 4)), ("k", DataType.FP32, ()), ("y", DataType.FP32, (-1, 4))]


@pytest.mark.parametrize(
    ("make", "axis"),
    [(graphs.linear, 0), (made.scaled, None), (made.scalars, None), (lambda path: graphs.linear(path, rows=1), None)],
    ids=["free rows", "a scalar beside", "scalars", "one fixed row"],
)
def test_there_is_a_batch_axis_only_where_every_tensor_has_free_rows(
    tmp_path: Path, make: Callable[[Path], Path], axis: int | None
) -> None:
    assert made.session_of(make(tmp_path / "m" / "model.onnx")).signature.batch_axis == axis


COPIES: list[tuple[int, Array]] = [
    (TensorProto.INT64, np.array([[2**62, -1]])),
    (TensorProto.UINT64, np.array([[2**64 - 1, 0]], np.uint64)),
    (TensorProto.INT8, np.array([[-128, 127]], np.int8)),
    (TensorProto.FLOAT16, np.array([[0.1, -65504]], np.float16)),
    (TensorProto.DOUBLE, np.array([[np.pi, -np.inf]])),
    (TensorProto.BOOL, np.array([[True, False]])),
    (TensorProto.STRING, np.array([["", "naïve ☃"]], dtype=object)),
]


@pytest.mark.parametrize(("kind", "rows"), COPIES, ids=[TensorProto.DataType.Name(kind) for kind, _ in COPIES])
def test_datatypes_go_through_unchanged(tmp_path: Path, kind: int, rows: Array) -> None:
    session = made.session_of(graphs.identity(tmp_path / "m" / "model.onnx", kind, ("N", 2)))
    answer = session.run({"x": rows})["y"]
    assert answer.dtype == rows.dtype == session.signature.inputs[0].datatype.numpy
    np.testing.assert_array_equal(answer, rows)


@pytest.mark.parametrize("name", ["a/b:0", "input.1", '{"a": [1]}', "with space", "ünïcode", "../x", "%s"])
def test_an_input_may_have_any_name(tmp_path: Path, name: str) -> None:
    session = made.session_of(graphs.identity(tmp_path / "m" / "model.onnx", TensorProto.FLOAT, name=name))
    rows = np.ones((2, 4), np.float32)
    assert session.signature.inputs[0].name == name
    np.testing.assert_array_equal(session.run({name: rows})["y"], rows)


def test_scalars_go_in_and_come_out(tmp_path: Path) -> None:
    session = made.session_of(made.scalars(tmp_path / "m" / "model.onnx"))
    answer = session.run({"x": np.array(3, np.float32), "k": np.array(2, np.float32)})["y"]
    assert (answer.shape, float(answer)) == ((), 6.0)


FAILING = [{}, {"x": np.ones((2, 5), np.float32)}, {"other": np.ones((2, 4), np.float32)}]


@pytest.mark.parametrize("inputs", FAILING, ids=["no input", "another width", "another name"])
def test_a_run_that_fails_says_nothing_of_the_graph(tmp_path: Path, inputs: dict[str, Array]) -> None:
    session = made.session_of(graphs.linear(tmp_path / "m" / "model.onnx"))
    with pytest.raises(ExecutionFailed) as raised:
        session.run(inputs)
    assert str(raised.value) == "the model failed on this input"
    assert raised.value.__cause__ is not None


LISTS: list[tuple[int, Any]] = [
    (TensorProto.FLOAT, [[0.1, 2], [3, 1e38]]),
    (TensorProto.FLOAT16, [[0.1, 65504]]),
    (TensorProto.INT8, [[-128, 127]]),
    (TensorProto.UINT64, [[2**64 - 1, 0]]),
    (TensorProto.BOOL, [[True, False]]),
    (TensorProto.STRING, [["", "naïve ☃"]]),
]


@pytest.mark.parametrize(("kind", "rows"), LISTS, ids=[TensorProto.DataType.Name(kind) for kind, _ in LISTS])
def test_a_list_is_run_as_the_array_of_its_datatype(tmp_path: Path, kind: int, rows: Any) -> None:
    session = made.session_of(graphs.identity(tmp_path / "m" / "model.onnx", kind, ("N", 2)))
    expected = np.array(rows, session.signature.inputs[0].datatype.numpy)
    answer = session.run({"x": rows})["y"]
    assert answer.dtype == expected.dtype
    np.testing.assert_array_equal(answer, expected)


SIZE = 256


def test_a_run_that_is_asked_to_halt_ends_between_two_nodes(tmp_path: Path) -> None:
    """Of a graph of thousands of nodes, of which each takes a moment: were it run to its end, it would answer."""
    session = made.session_of(graphs.slow(tmp_path / "m" / "model.onnx", repeats=3000, size=SIZE))
    began, halt = threading.Event(), Began()
    halt.began = began
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(session.run, {"x": np.ones((32, SIZE), np.float32)}, halt)
        assert began.wait(10)
        halt.ask()
        with pytest.raises(ExecutionFailed):
            running.result(30)


class Began(Halt):
    """Says when a run begins that can be ended."""

    __slots__ = ("began",)

    def by(self, how: Callable[[], None]) -> None:
        super().by(how)
        self.began.set()


def test_a_run_that_was_asked_to_halt_before_it_began_does_not_run(tmp_path: Path) -> None:
    session = made.session_of(graphs.linear(tmp_path / "m" / "model.onnx"))
    halt = Halt()
    halt.ask()
    with pytest.raises(ExecutionFailed):
        session.run({"x": np.ones((1, 4), np.float32)}, halt)


def test_a_halt_ends_its_own_run_alone(tmp_path: Path) -> None:
    session = made.session_of(graphs.linear(tmp_path / "m" / "model.onnx"))
    x = {"x": np.ones((1, 4), np.float32)}
    asked, kept = Halt(), Halt()
    asked.ask()
    with pytest.raises(ExecutionFailed):
        session.run(x, asked)
    expected = session.run(x)["y"]
    np.testing.assert_array_equal(session.run(x, kept)["y"], expected)
    kept.ask()  # after its end: harmless
    np.testing.assert_array_equal(session.run(x)["y"], expected)


def test_a_run_that_fails_writes_nothing_past_the_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    session = made.session_of(graphs.refuses_negative(tmp_path / "m" / "model.onnx"))
    with pytest.raises(ExecutionFailed):
        session.run({"x": np.full((1, 4), 99, np.float32)})
    assert capfd.readouterr() == ("", "")


def test_a_session_goes_on_after_a_run_that_failed(tmp_path: Path) -> None:
    session = made.session_of(graphs.refuses_negative(tmp_path / "m" / "model.onnx"))
    with pytest.raises(ExecutionFailed):
        session.run({"x": np.full((1, 4), 99, np.float32)})
    answer = session.run({"x": np.ones((1, 4), np.float32)})["y"]
    np.testing.assert_array_equal(answer, np.full((1, 4), 20, np.float32))


def test_several_threads_may_run_one_session_at_once(tmp_path: Path) -> None:
    graph = graphs.linear(tmp_path / "m" / "model.onnx")
    session, weights = made.session_of(graph), made.weights_of(graph)
    together = threading.Barrier(8)

    def work(thread: int) -> bool:
        random = np.random.default_rng(thread)
        together.wait(10)
        for rows in range(1, 50):
            x = random.standard_normal((rows, 4)).astype(np.float32)
            if not np.allclose(session.run({"x": x})["y"], x @ weights, atol=1e-5):
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_the_provider_in_use_is_known(tmp_path: Path) -> None:
    assert made.session_of(graphs.linear(tmp_path / "m" / "model.onnx")).provider == CPU


# ONNX Runtime warns where a provider is not built in; the tests of this file ask for one on purpose.
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_cuda_on_a_machine_without_it_is_refused_unless_the_fallback_is_allowed(tmp_path: Path) -> None:
    graph, cache = Graph.open(graphs.linear(tmp_path / "m" / "model.onnx")), GraphCache(tmp_path / "graphs")
    with pytest.raises(LoadFailed, match="asked for CUDA"):
        Session.load(graph, Placement("cuda"), 1, cache)
    assert Session.load(graph, Placement("cuda", allow_fallback=True), 1, cache).provider == CPU


def test_threads_of_a_session_spin_for_a_moment_within_a_run_and_not_behind_it(tmp_path: Path) -> None:
    session = made.session_of(graphs.linear(tmp_path / "m" / "model.onnx"))
    options = session._session.get_session_options()
    assert {key: options.get_session_config_entry(key) for key in BRIEFLY} == BRIEFLY


def test_a_closed_session_lets_go_of_the_graph_and_refuses_runs(tmp_path: Path) -> None:
    with no_collector():
        session = made.session_of(graphs.linear(tmp_path / "m" / "model.onnx"))
        bound = session.bound(range(1, 5))
        assert bound is not None
        rows = {"x": np.ones((2, 4), np.float32)}
        bound.run(rows)
        inner = weakref.ref(session._session)
        session.close()
        bound.close()
        assert inner() is None
    assert session.bound(range(1, 5)) is None
    for run in (session.run, bound.run):
        with pytest.raises(NotReady, match="unloaded"):
            run(rows)
    session.close()
