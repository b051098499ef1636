"""Runs through bound buffers give what plain runs give, for every number of rows."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from app.errors import ExecutionFailed
from app.runtime.bound import EVERY_SIZE, BoundSession, row_buckets
from app.runtime.session import Session
from tests import graphs
from tests.runtime import made

sizes = pytest.mark.parametrize("sizes", [EVERY_SIZE, row_buckets(40)], ids=["every size", "buckets"])


def bound_of(session: Session, sizes: range | tuple[int, ...] = EVERY_SIZE) -> BoundSession:
    bound = session.bound(sizes)
    assert bound is not None
    return bound


@sizes
def test_every_number_of_rows_is_answered_as_by_a_plain_run(tmp_path: Path, sizes: range | tuple[int, ...]) -> None:
    session = made.session_of(made.convolution(tmp_path / "m" / "model.onnx"))
    bound, random = bound_of(session, sizes), np.random.default_rng(0)
    for rows in (0, *range(1, sizes[-1] + 9), *range(sizes[-1], 0, -7)):
        x = random.standard_normal((rows, 3, 8, 8)).astype(np.float32)
        got, expected = bound.run({"x": x}), session.run({"x": x})
        assert got.keys() == expected.keys()
        assert got["y"].shape == expected["y"].shape
        np.testing.assert_allclose(got["y"], expected["y"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT8, TensorProto.BOOL], ids=str)
@pytest.mark.parametrize("is_list", [False, True], ids=["an array", "a list"])
def test_lists_and_arrays_of_a_datatype_go_through(tmp_path: Path, kind: int, is_list: bool) -> None:
    session = made.session_of(graphs.identity(tmp_path / "m" / "model.onnx", kind, ("N", 2)))
    rows = np.array([[1, 0], [0, 1], [1, 1]], session.signature.inputs[0].datatype.numpy)
    got = bound_of(session).run({"x": rows.tolist() if is_list else rows})["y"]
    assert got.dtype == rows.dtype
    np.testing.assert_array_equal(got, rows)


def test_an_answer_stays_as_it_is_when_the_next_run_comes(tmp_path: Path) -> None:
    bound = bound_of(made.session_of(graphs.identity(tmp_path / "m" / "model.onnx", TensorProto.FLOAT)))
    first = bound.run({"x": np.ones((2, 4), np.float32)})["y"]
    bound.run({"x": np.zeros((2, 4), np.float32)})
    np.testing.assert_array_equal(first, np.ones((2, 4)))


UNBOUND: dict[str, Callable[[Path], Path]] = {
    "strings": lambda path: graphs.identity(path, TensorProto.STRING),
    "a free width": lambda path: graphs.identity(path, TensorProto.FLOAT, ("N", "T")),
    "one row always": lambda path: graphs.linear(path, rows=1),
    "a scalar input": made.scaled,
    "an output that is an input": made.input_is_output,
}


@pytest.mark.parametrize("make", UNBOUND.values(), ids=UNBOUND)
def test_what_has_no_fixed_size_is_not_bound(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    assert made.session_of(make(tmp_path / "m" / "model.onnx")).bound(EVERY_SIZE) is None


@sizes
def test_a_run_that_fails_says_nothing_of_the_graph_and_the_next_goes_on(
    tmp_path: Path, sizes: range | tuple[int, ...]
) -> None:
    bound = bound_of(made.session_of(graphs.refuses_negative(tmp_path / "m" / "model.onnx")), sizes)
    for _ in range(2):
        with pytest.raises(ExecutionFailed, match=r"^the model failed on this input$"):
            bound.run({"x": np.full((3, 4), 99, np.float32)})
        answer = bound.run({"x": np.ones((3, 4), np.float32)})["y"]
        np.testing.assert_array_equal(answer, np.full((3, 4), 20, np.float32))


def test_several_threads_have_buffers_of_their_own(tmp_path: Path) -> None:
    bound = bound_of(made.session_of(graphs.identity(tmp_path / "m" / "model.onnx", TensorProto.FLOAT)))
    together = threading.Barrier(4)

    def work(thread: int) -> bool:
        together.wait(10)
        for rows in [1, 2, 3] * 100:
            x = np.full((rows, 4), thread, np.float32)
            if not np.array_equal(bound.run({"x": x})["y"], x):
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


@sizes
def test_outputs_have_no_more_bytes_than_they_may(tmp_path: Path, sizes: range | tuple[int, ...]) -> None:
    session = made.session_of(graphs.identity(tmp_path / "m" / "model.onnx", TensorProto.FLOAT))
    bound = bound_of(session, sizes)
    row = np.ones((1, 4), np.float32)
    session.limit(60, 2 * row.nbytes)
    bound.limit(2 * row.nbytes)
    assert bound.run({"x": row.repeat(2, axis=0)})["y"].shape == (2, 4)
    with pytest.raises(ExecutionFailed, match="max_output_mb"):
        bound.run({"x": row.repeat(3, axis=0)})
    bound.limit(1 << 20)
    assert bound.run({"x": row.repeat(3, axis=0)})["y"].shape == (3, 4)
