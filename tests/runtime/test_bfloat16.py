"""BF16 in and out of a graph, held against ml_dtypes, which has the type."""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto

from app.contract.tensors import DataType, InputSpec, OutputSpec, Signature
from app.errors import ExecutionFailed, LoadFailed
from app.protocol.messages import Halt
from app.runtime import bfloat16
from app.runtime.invariance import is_batch_invariant, samples
from tests import graphs
from tests.runtime import made

NUMBERS = np.array([[1, -2, 0.1, 3e38], [np.inf, -0.0, 1e-40, 65504]], ml_dtypes.bfloat16)
K = np.array(3, np.float32)


def bits(array: np.ndarray) -> list[list[int]]:
    found: list[list[int]] = array.view(np.uint16).tolist()
    return found


@pytest.fixture
def product(tmp_path: Path) -> made.Session:
    return made.session_of(made.bfloat16_arithmetic(tmp_path / "m" / "model.onnx"))


def test_a_graph_computes_with_what_it_gets_and_gives_it_back(product: made.Session) -> None:
    with np.errstate(over="ignore"):
        found = product.run({"x": NUMBERS.view("V2"), "k": K})
        assert bits(found["y"]) == bits((NUMBERS.astype(np.float32) * K).astype(ml_dtypes.bfloat16))
        np.testing.assert_array_equal(found["f"], NUMBERS.astype(np.float32) * K)
    assert (found["y"].dtype, found["f"].dtype) == (np.dtype("V2"), np.float32)


@pytest.mark.parametrize("order", ["read-only", "transposed", "every other row"])
def test_an_array_may_lie_anyhow_in_memory(product: made.Session, order: str) -> None:
    x = np.resize(NUMBERS, (4, 4)).view("V2")
    view = {"read-only": np.frombuffer(x.tobytes(), "V2").reshape(4, 4), "transposed": x.T, "every other row": x[::2]}
    given = view[order]
    found = product.run({"x": given, "k": np.array(1, np.float32)})
    assert found["y"].tolist() == given.tolist()


def test_no_rows(product: made.Session) -> None:
    found = product.run({"x": np.zeros((0, 4), "V2"), "k": K})
    assert (found["y"].shape, found["y"].dtype) == ((0, 4), np.dtype("V2"))


def test_the_answer_outlives_the_run_that_gave_it(product: made.Session) -> None:
    first = product.run({"x": NUMBERS.view("V2"), "k": np.array(1, np.float32)})["y"]
    for _ in range(50):
        product.run({"x": np.zeros((2, 4), "V2"), "k": K})
    assert bits(first) == bits(NUMBERS)


def test_a_run_can_be_halted(product: made.Session) -> None:
    halt = Halt()
    halt.ask()
    with pytest.raises(ExecutionFailed):
        product.run({"x": NUMBERS.view("V2"), "k": K}, halt)


def test_rows_are_proven_like_any_others(tmp_path: Path) -> None:
    session = made.session_of(made.bfloat16(tmp_path / "m" / "model.onnx"))
    (inputs,) = samples(session.signature)
    assert len(np.unique(inputs["x"].view(np.uint16))) > 8
    assert is_batch_invariant(session, inputs)
    assert session.bound(range(1, 3)) is None


def test_on_another_provider_it_is_refused() -> None:
    spec = {"name": "x", "datatype": DataType.BF16, "shape": (-1, 4)}
    signature = Signature(inputs=(InputSpec(**spec),), outputs=(OutputSpec(**spec),))
    with pytest.raises(LoadFailed, match="expected CPUExecutionProvider, got CUDAExecutionProvider"):
        bfloat16.check(signature, "CUDAExecutionProvider")


def test_other_graphs_run_as_they_did(tmp_path: Path) -> None:
    session = made.session_of(graphs.identity(tmp_path / "m" / "model.onnx", TensorProto.FLOAT))
    assert not bfloat16.is_used(session.signature)
    bfloat16.check(session.signature, "CUDAExecutionProvider")
