"""The data plane: what happens to a request, whatever door it came through. Repository and model are fakes."""

import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from app.contract.tensors import InputSpec, OutputSpec, Signature
from app.dataplane import DataPlane, Pending, validate
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
from app.protocol.messages import InferRequest, Inputs, Outputs, ServedModel, Share, Tensors, Timings

X = InputSpec(name="x", datatype="FP32", shape=(-1, 2))
N = InputSpec(name="n", datatype="INT64", shape=(-1,))
Y = OutputSpec(name="y", datatype="FP32", shape=(-1, 3))
Z = OutputSpec(name="z", datatype="INT64", shape=(-1,))
BATCHED = Signature(inputs=(X,), outputs=(Y, Z))
WHOLE = Signature(inputs=(X,), outputs=(Y, Z), batch_axis=None)
ROWS: Tensors = {"x": np.ones((2, 2), np.float32)}
NO_ROWS: Tensors = {"x": np.ones((0, 2), np.float32)}
SHARE = Share(Outputs({"y": np.ones((2, 3), np.float32), "z": np.ones(2, np.int64)}))


class FakeModel:
    """Keeps what is submitted to it, and what is cancelled."""

    def __init__(self, signature: Signature, slo_seconds: float | None) -> None:
        self.served = ServedModel("m", 3, signature, "CPUExecutionProvider")
        self.slo_seconds = slo_seconds
        self.submitted: list[SimpleNamespace] = []
        self.cancelled: list[InferRequest] = []
        self.refusal: Exception | None = None

    def submit(self, request: InferRequest, inputs: Inputs, rows: int, deadline: float | None, reply: Any) -> Pending:
        if self.refusal is not None:
            raise self.refusal
        self.submitted.append(
            SimpleNamespace(request=request, inputs=inputs, rows=rows, deadline=deadline, reply=reply)
        )
        return SimpleNamespace(cancel=lambda: self.cancelled.append(request))


class World:
    """A data plane with one model, its clock, and the answers it gave."""

    def __init__(self, signature: Signature = BATCHED, slo_seconds: float | None = None) -> None:
        self.now = 100.0
        self.model = FakeModel(signature, slo_seconds)
        self.acquire: Callable[..., Any] = lambda name, version: self.model
        repository: Any = SimpleNamespace(acquire=lambda name, version: self.acquire(name, version))
        self.dataplane = DataPlane(repository, lambda: self.now)
        self.answers: list[Share | BonsaiError] = []
        self.pending: Pending | None = None
        """Of the last request."""

    def infer(self, inputs: Inputs = ROWS, *, received: float = 100.0, **fields: Any) -> InferRequest:
        """Takes in a request that reads as these inputs."""
        request = InferRequest(
            **{"model": None, "version": None, "read_inputs": lambda _: inputs, "timings": Timings(received), **fields}
        )
        self.pending = self.dataplane.infer(request, self.answers.append)
        return request

    def answer(self) -> Share:
        """The one good answer."""
        (outcome,) = self.answers
        assert isinstance(outcome, Share), outcome
        return outcome

    def error(self) -> BonsaiError:
        """The one error."""
        (outcome,) = self.answers
        assert isinstance(outcome, BonsaiError)
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
    assert (request.served, request.timings.decoded) == (world.model.served, 107.0)
    assert world.answers == []
    (submitted,) = world.model.submitted
    assert (submitted.request, submitted.inputs, submitted.rows) == (request, ROWS, 2)
    submitted.reply(SHARE)
    assert world.answer() is SHARE


def test_a_request_that_waits_can_be_cancelled() -> None:
    world = World()
    request = world.infer()
    assert world.pending is not None
    world.pending.cancel()
    assert world.model.cancelled == [request]


def test_a_request_that_has_been_answered_at_once_has_nothing_to_cancel() -> None:
    for inputs in (NO_ROWS, {"x": np.ones(3)}):
        world = World()
        world.infer(inputs)
        assert len(world.answers) == 1
        assert world.pending is None


def test_the_inputs_are_read_with_the_signature_of_the_model_that_was_found() -> None:
    world = World()
    seen: list[Signature] = []

    def read(signature: Signature) -> Tensors:
        seen.append(signature)
        return ROWS

    world.infer(read_inputs=read)
    assert seen == [BATCHED]


@pytest.mark.parametrize("names", [None, ("z",), ("z", "y"), ("y", "z")])
def test_outputs_that_are_there_may_be_asked_for(names: tuple[str, ...] | None) -> None:
    world = World()
    world.infer(outputs=names)
    assert world.model.submitted[0].request.outputs == names


def test_an_output_that_is_not_there_is_refused_before_the_model_runs() -> None:
    world = World()
    world.infer(outputs=("y", "w" * 10_000))
    assert str(world.error()).startswith("outputs: expected one of y, z, got 'www")
    assert len(str(world.error())) < 500
    assert world.model.submitted == []


@pytest.mark.parametrize(
    ("timeout", "slo", "deadline"),
    [(None, None, None), (5.0, None, 94.998), (None, 2.0, 91.998), (5.0, 2.0, 94.998), (0.05, 2.0, 90.049)],
)
def test_the_deadline_counts_from_the_arrival_less_a_little_for_the_way_and_is_the_models_slo_where_there_is_none(
    timeout: float | None, slo: float | None, deadline: float | None
) -> None:
    world = World(slo_seconds=slo)
    world.infer(received=90.0, timeout=timeout)
    assert world.model.submitted[0].deadline == (None if deadline is None else pytest.approx(deadline))


def test_a_batch_of_no_rows_is_answered_at_once_with_empty_outputs() -> None:
    world = World()
    world.infer(NO_ROWS)
    assert {name: array.shape for name, array in world.answer().arrays().items()} == {"y": (0, 3), "z": (0,)}
    assert world.model.submitted == []


def test_a_batch_of_no_rows_has_passed_every_point() -> None:
    world = World()
    timings = world.infer(NO_ROWS, received=99.0).timings
    assert (timings.started, timings.joined, timings.computed) == (100.0, 100.0, 100.0)


def test_a_batch_of_no_rows_must_ask_for_outputs_that_are_there_too() -> None:
    world = World()
    world.infer(NO_ROWS, outputs=("w",))
    assert isinstance(world.error(), InvalidInput)


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
    assert request.served is None


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
        submitted.reply(SHARE)
    assert [isinstance(answer, Share) for answer in world.answers] == [False, True, True]


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
    "a list that has been proven": (BATCHED, {"x": [[1, 2], [3, 4], [5, 6]]}, 3),
    "a list beside an array": (TWO, {"x": [[1, 2]], "n": np.ones(1, np.int64)}, 1),
    "a list of no rows": (BATCHED, {"x": []}, 0),
    "no batch axis": (WHOLE, ROWS, 1),
    "a scalar": (SCALAR, {"x": np.ones((), np.float32)}, 1),
    "strings": (
        Signature(inputs=(InputSpec(name="s", datatype="BYTES", shape=(-1,)),), outputs=(Y,)),
        {"s": np.array(["a", "b"], object)},
        2,
    ),
}


@pytest.mark.parametrize(("signature", "inputs", "rows"), VALID.values(), ids=VALID)
def test_validate_gives_the_number_of_rows(signature: Signature, inputs: Inputs, rows: int) -> None:
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
    "other rows than a list": (
        TWO,
        {"x": [[1, 2]], "n": np.ones(2, np.int64)},
        "inputs: expected the same number of rows in every input, got x 1, n 2",
    ),
    "other rows": (
        TWO,
        {"x": np.ones((3, 2), np.float32), "n": np.ones(2, np.int64)},
        "inputs: expected the same number of rows in every input, got x 3, n 2",
    ),
}


@pytest.mark.parametrize(("signature", "inputs", "text"), INVALID.values(), ids=INVALID)
def test_validate_names_the_input_what_was_expected_and_what_came(
    signature: Signature, inputs: Inputs, text: str
) -> None:
    with pytest.raises(InvalidInput) as raised:
        validate(signature, inputs)
    assert str(raised.value) == text


def test_inputs_that_do_not_fit_are_refused_before_the_model_runs() -> None:
    world = World()
    world.infer({"x": np.ones((2, 3), np.float32)})
    assert isinstance(world.error(), InvalidInput)
    assert world.model.submitted == []
