"""The data plane: what happens to a request, whatever door it came through. Repository and model are fakes."""

import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from app.contract.tensors import InputSpec, OutputSpec, Signature
from app.dataplane import DataPlane, validate
from app.errors import (
    BonsaiError,
    DeadlineExceeded,
    Draining,
    ExecutionFailed,
    InvalidInput,
    NotFound,
    NotReady,
    Overloaded,
)
from app.protocol.messages import InferRequest, InferResponse, Tensors, Timings
from app.telemetry.metrics import Metrics
from tests.metrics import value

X = InputSpec(name="x", datatype="FP32", shape=(-1, 2))
N = InputSpec(name="n", datatype="INT64", shape=(-1,))
Y = OutputSpec(name="y", datatype="FP32", shape=(-1, 3))
Z = OutputSpec(name="z", datatype="INT64", shape=(-1,))
BATCHED = Signature(inputs=(X,), outputs=(Y, Z))
WHOLE = Signature(inputs=(X,), outputs=(Y, Z), batch_axis=None)
ROWS: Tensors = {"x": np.ones((2, 2), np.float32)}
NO_ROWS: Tensors = {"x": np.ones((0, 2), np.float32)}
OUTPUTS: Tensors = {"y": np.ones((2, 3), np.float32), "z": np.ones(2, np.int64)}


class FakeModel:
    """Keeps what is submitted to it."""

    name, version, provider = "m", 3, "CPUExecutionProvider"

    def __init__(self, signature: Signature, slo_seconds: float | None) -> None:
        self.signature = signature
        self.slo_seconds = slo_seconds
        self.submitted: list[SimpleNamespace] = []
        self.refusal: Exception | None = None

    def submit(self, inputs: Tensors, rows: int, deadline: float | None, timings: Timings, reply: Any) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.submitted.append(SimpleNamespace(inputs=inputs, rows=rows, deadline=deadline, reply=reply))


class World:
    """A data plane with one model, its clock, and the answers it gave."""

    def __init__(self, signature: Signature = BATCHED, slo_seconds: float | None = None) -> None:
        self.now = 100.0
        self.model = FakeModel(signature, slo_seconds)
        self.acquire: Callable[..., Any] = lambda name, version: self.model
        self.metrics = Metrics()
        repository: Any = SimpleNamespace(acquire=lambda name, version: self.acquire(name, version))
        self.dataplane = DataPlane(repository, self.metrics, lambda: self.now)
        self.answers: list[InferResponse | BonsaiError] = []

    def infer(self, inputs: Tensors = ROWS, *, received: float = 100.0, **fields: Any) -> InferRequest:
        """Takes in a request that reads as these inputs."""
        request = InferRequest(
            **{"model": None, "version": None, "read_inputs": lambda _: inputs, "timings": Timings(received), **fields}
        )
        self.dataplane.infer(request, self.answers.append)
        return request

    @property
    def in_flight(self) -> float:
        return value(self.metrics.exposition().decode(), "bonsai_requests_in_flight")

    def answer(self) -> InferResponse:
        """The one good answer."""
        (outcome,) = self.answers
        assert isinstance(outcome, InferResponse), outcome
        return outcome

    def error(self) -> BonsaiError:
        """The one error, after which nothing is left in flight."""
        (outcome,) = self.answers
        assert isinstance(outcome, BonsaiError)
        assert self.in_flight == 0
        return outcome


def test_a_request_is_resolved_validated_submitted_and_answered() -> None:
    world = World()
    asked: list[object] = []

    def acquire(*names: object) -> FakeModel:
        asked.append(names)
        return world.model

    world.acquire = acquire
    world.now = 107.0
    request = world.infer(model="m", version="stable")
    assert asked == [("m", "stable")]
    assert (request.resolved, request.timings.decoded) == (("m", 3), 107.0)
    assert (world.answers, world.in_flight) == ([], 1)
    (submitted,) = world.model.submitted
    assert (submitted.inputs, submitted.rows) == (ROWS, 2)
    submitted.reply(OUTPUTS)
    answer = world.answer()
    assert (answer.model, answer.version, answer.provider) == ("m", 3, "CPUExecutionProvider")
    assert (answer.signature, answer.outputs, answer.timings) == (BATCHED, OUTPUTS, request.timings)
    assert world.in_flight == 0


def test_the_inputs_are_read_with_the_signature_of_the_model_that_was_found() -> None:
    world = World()
    seen: list[Signature] = []

    def read(signature: Signature) -> Tensors:
        seen.append(signature)
        return ROWS

    world.infer(read_inputs=read)
    assert seen == [BATCHED]


@pytest.mark.parametrize("names", [("z",), ("z", "y"), ("y", "z")])
def test_only_the_outputs_asked_for_are_answered_in_that_order(names: tuple[str, ...]) -> None:
    world = World()
    world.infer(outputs=names)
    world.model.submitted[0].reply(OUTPUTS)
    assert tuple(world.answer().outputs) == names


def test_an_output_that_is_not_there_is_refused_before_the_model_runs() -> None:
    world = World()
    world.infer(outputs=("y", "w" * 10_000))
    assert str(world.error()).startswith("outputs: expected one of y, z, got 'www")
    assert len(str(world.error())) < 500
    assert world.model.submitted == []


@pytest.mark.parametrize(
    ("timeout", "slo", "deadline"),
    [(None, None, None), (5.0, None, 95.0), (None, 2.0, 92.0), (5.0, 2.0, 95.0), (0.5, 2.0, 90.5)],
)
def test_the_deadline_counts_from_the_arrival_the_models_slo_where_the_request_has_none(
    timeout: float | None, slo: float | None, deadline: float | None
) -> None:
    world = World(slo_seconds=slo)
    world.infer(received=90.0, timeout=timeout)
    assert world.model.submitted[0].deadline == deadline


def test_a_batch_of_no_rows_is_answered_at_once_with_empty_outputs() -> None:
    world = World()
    world.infer(NO_ROWS)
    assert {name: array.shape for name, array in world.answer().outputs.items()} == {"y": (0, 3), "z": (0,)}
    assert world.model.submitted == []
    assert world.in_flight == 0


def test_a_batch_of_no_rows_honours_the_outputs_asked_for() -> None:
    world = World()
    world.infer(NO_ROWS, outputs=("z",))
    assert list(world.answer().outputs) == ["z"]


def test_without_a_batch_axis_even_an_empty_input_is_run() -> None:
    world = World(WHOLE)
    world.infer(NO_ROWS)
    assert world.model.submitted[0].rows == 1


@pytest.mark.parametrize("error", [NotFound("no model"), NotReady("loading"), InvalidInput("model: expected one")])
def test_a_model_that_cannot_be_had_is_the_answer(error: BonsaiError) -> None:
    world = World()

    def acquire(*_: object) -> None:
        raise error

    world.acquire = acquire
    request = world.infer()
    assert world.error() is error
    assert request.resolved is None


@pytest.mark.parametrize("error", [Overloaded("full"), InvalidInput("x")])
def test_what_the_model_refuses_is_the_answer(error: BonsaiError) -> None:
    world = World()
    world.model.refusal = error
    world.infer()
    assert world.error() is error


@pytest.mark.parametrize("error", [ExecutionFailed("the model failed"), DeadlineExceeded("late")])
def test_what_goes_wrong_later_is_the_answer(error: BonsaiError) -> None:
    world = World()
    world.infer()
    world.model.submitted[0].reply(error)
    assert world.error() is error


@pytest.mark.parametrize("where", ["acquire", "read_inputs", "submit"])
def test_an_unexpected_exception_is_answered_and_tells_nothing_but_its_cause(where: str) -> None:
    world = World()

    def fault(*_: object) -> None:
        raise ZeroDivisionError("/secret/path")

    world.acquire = fault if where == "acquire" else world.acquire
    world.model.refusal = ZeroDivisionError("/secret/path") if where == "submit" else None
    world.infer(**({"read_inputs": fault} if where == "read_inputs" else {}))
    assert type(world.error()) is BonsaiError
    assert "secret" not in str(world.error())
    assert isinstance(world.error().__cause__, ZeroDivisionError)


def test_a_door_that_fails_to_take_its_answer_is_not_called_again() -> None:
    """`reply` is called exactly once, whatever becomes of it."""
    for inputs in (NO_ROWS, {"x": np.ones(3)}):
        world = World()
        calls: list[object] = []

        def reply(outcome: object, calls: list[object] = calls) -> None:
            calls.append(outcome)
            raise RuntimeError("the door is broken")

        request = InferRequest("m", None, lambda _, inputs=inputs: inputs, Timings(100.0))  # type: ignore[misc]
        with contextlib.suppress(RuntimeError):
            world.dataplane.infer(request, reply)
        assert len(calls) == 1
        assert world.in_flight == 0


def test_while_draining_what_was_received_before_is_served_and_what_comes_after_is_refused() -> None:
    world = World()
    assert not world.dataplane.draining
    world.dataplane.drain()
    assert world.dataplane.draining
    for received in (99.0, 100.0):
        world.infer(received=received)
    assert len(world.model.submitted) == 2
    world.infer(received=100.001)
    assert isinstance(world.answers[0], Draining)
    for submitted in world.model.submitted:
        submitted.reply(OUTPUTS)
    assert [isinstance(answer, InferResponse) for answer in world.answers] == [False, True, True]
    assert world.in_flight == 0


def test_a_second_call_to_drain_does_not_move_the_line() -> None:
    world = World()
    world.dataplane.drain()
    world.now = 200.0
    world.dataplane.drain()
    world.infer(received=150.0)
    assert isinstance(world.error(), Draining)


SCALAR = Signature(inputs=(InputSpec(name="x", datatype="FP32", shape=()),), outputs=(Y,), batch_axis=None)
TWO = Signature(inputs=(X, N), outputs=(Y,))
VALID = {
    "rows": (BATCHED, {"x": np.ones((5, 2), np.float32)}, 5),
    "no rows": (BATCHED, NO_ROWS, 0),
    "two inputs": (TWO, {"x": np.ones((3, 2), np.float32), "n": np.ones(3, np.int64)}, 3),
    "no batch axis": (WHOLE, ROWS, 1),
    "a scalar": (SCALAR, {"x": np.ones((), np.float32)}, 1),
    "strings": (
        Signature(inputs=(InputSpec(name="s", datatype="BYTES", shape=(-1,)),), outputs=(Y,)),
        {"s": np.array(["a", "b"], object)},
        2,
    ),
}


@pytest.mark.parametrize(("signature", "inputs", "rows"), VALID.values(), ids=VALID)
def test_validate_gives_the_number_of_rows(signature: Signature, inputs: Tensors, rows: int) -> None:
    assert validate(signature, inputs) == rows


INVALID = {
    "missing": (BATCHED, {}, "inputs: expected an input 'x', got none"),
    "another name": (BATCHED, {"q": ROWS["x"]}, "inputs: expected an input 'x', got q"),
    "float64": (BATCHED, {"x": np.ones((2, 2))}, "input 'x': expected datatype FP32, got float64"),
    "int": (BATCHED, {"x": np.ones((2, 2), np.int32)}, "input 'x': expected datatype FP32, got int32"),
    "big-endian": (BATCHED, {"x": np.ones((2, 2), ">f4")}, "input 'x': expected datatype FP32, got >f4"),
    "flat": (
        BATCHED,
        {"x": np.ones(2, np.float32)},
        "input 'x': expected shape [-1, 2] (-1: any size), got [2]",
    ),
    "wide": (
        BATCHED,
        {"x": np.ones((2, 3), np.float32)},
        "input 'x': expected shape [-1, 2] (-1: any size), got [2, 3]",
    ),
    "one of two": (TWO, ROWS, "inputs: expected an input 'n', got x"),
    "other rows": (
        TWO,
        {"x": np.ones((3, 2), np.float32), "n": np.ones(2, np.int64)},
        "inputs: expected the same number of rows in every input, got x 3, n 2",
    ),
}


@pytest.mark.parametrize(("signature", "inputs", "text"), INVALID.values(), ids=INVALID)
def test_validate_names_the_input_what_was_expected_and_what_came(
    signature: Signature, inputs: Tensors, text: str
) -> None:
    with pytest.raises(InvalidInput) as raised:
        validate(signature, inputs)
    assert str(raised.value) == text


def test_inputs_that_do_not_fit_are_refused_before_the_model_runs() -> None:
    world = World()
    world.infer({"x": np.ones((2, 3), np.float32)})
    assert isinstance(world.error(), InvalidInput)
    assert world.model.submitted == []
