"""The inference door as bytes in, bytes out. The data plane is a fake that answers what the test says."""

import json
import logging
import re
from typing import Any

import numpy as np
import pytest

from app.api.inference import Route, route
from app.errors import (
    BonsaiError,
    DeadlineExceeded,
    Draining,
    ExecutionFailed,
    InvalidInput,
    NotFound,
    NotReady,
    Overloaded,
    TooLarge,
)
from app.protocol.messages import InferRequest, InferResponse, Timings
from tests.api.world import BODY, LIMIT, World, answered, head, headers
from tests.protocol.bodies import signature

TENSOR = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}


@pytest.mark.parametrize(
    ("path", "model", "version"),
    [
        ("/v2/models/m/infer", "m", None),
        ("/v2/models/m/versions/3/infer", "m", "3"),
        ("/v2/models/m/versions/x y/infer", "m", "x y"),
        ("/v2/models/versions/infer", "versions", None),
    ],
)
def test_an_infer_path_names_the_model_and_the_version(path: str, model: str, version: str | None) -> None:
    found = route(path)
    assert found is not None
    request = found.decode(json.dumps({"inputs": [TENSOR]}).encode(), Timings(0.0))
    assert (request.model, request.version) == (model, version)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/predict/",
        "/predict\n",
        "/Predict",
        "//predict",
        "/v2/models/m",
        "/v2/models//infer",
        "/v2/models/m/infer/",
        "/v2/models/m/infer\n",
        "/v2/models/m/versions/infer",
        "/v2/models/m/versions/1/2/infer",
        "/v2/models/../../etc/passwd/infer",
        "/x/v2/models/m/infer",
    ],
    ids=repr,
)
def test_every_other_path_is_not_this_doors(path: str) -> None:
    assert route(path) is None


REFUSED: dict[str, tuple[dict[str, str], int, str]] = {
    "image": ({"content_type": "image/png"}, 415, "content-type: expected application/json, got image/png"),
    "multipart": ({"content_type": "multipart/form-data; boundary=x"}, 415, "multipart/form-data"),
    "text": ({"content_type": "text/plain"}, 415, "text/plain"),
    "json lines": ({"content_type": "application/jsonl"}, 415, "application/jsonl"),
    "not ascii": ({"content_type": "é"}, 415, "é"),
    "br": ({"content_encoding": "br"}, 415, "content-encoding: expected none, got br"),
    "gzip, br": ({"content_encoding": "gzip, br"}, 415, "gzip, br"),
    "binary": ({"inference_header_content_length": "10"}, 501, "inference-header-content-length"),
    "binary 0": ({"inference_header_content_length": "0"}, 501, "inference-header-content-length"),
    "too long": ({"content_length": str(LIMIT + 1)}, 413, f"at most {LIMIT} bytes, got {LIMIT + 1}"),
    "10 GB": ({"content_length": "10000000000"}, 413, "10000000000"),
    "a length of 5000 digits": ({"content_length": "9" * 5000}, 413, f"at most {LIMIT} bytes"),
    "negative length": ({"content_length": "-1"}, 400, "content-length: expected a number, got -1"),
    "length no number": ({"content_length": "1e3"}, 400, "content-length"),
    "length empty": ({"content_length": ""}, 400, "content-length"),
    "length not ascii": ({"content_length": "²"}, 400, "content-length"),
}


@pytest.mark.parametrize(("given", "status", "text"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_head_is_refused_before_its_body(given: dict[str, str], status: int, text: str) -> None:
    answer = World().inference.refuse(head(**given))
    assert answer is not None
    assert answer.status == status
    assert list(json.loads(answer.body)) == ["error"]
    assert text in json.loads(answer.body)["error"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "post", "X"])
def test_another_method_is_405_with_the_one_allowed(method: str) -> None:
    answer = World().inference.refuse(head(method, "/predict"))
    assert answer is not None
    assert (answer.status, headers(answer)["allow"]) == (405, "POST")
    assert json.loads(answer.body) == {"error": f"{method} /predict: expected POST"}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"content_type": "application/json"},
        {"content_type": "Application/JSON; charset=utf-8"},
        {"content_type": "application/x-www-form-urlencoded"},
        {"content_encoding": "identity"},
        {"content_encoding": "Identity "},
        {"content_length": str(LIMIT)},
        {"content_length": "0"},
    ],
    ids=str,
)
def test_a_good_head_is_let_in(given: dict[str, str]) -> None:
    assert World().inference.refuse(head(**given)) is None


@pytest.mark.parametrize("given", ["a", "~!;,", "x" * 256])
def test_a_request_id_comes_back(given: str) -> None:
    assert headers(World().handle(x_request_id=given))["x-request-id"] == given


@pytest.mark.parametrize("given", [None, "", "a b", "a\r\nset-cookie: x", "\x00", "é", "x" * 257])
def test_without_a_sane_request_id_one_is_made(given: str | None) -> None:
    world = World()
    made = [headers(world.handle(**({} if given is None else {"x_request_id": given})))["x-request-id"] for _ in "ab"]
    assert all(re.fullmatch(r"[0-9a-f]{16}", name) for name in made)
    assert made[0] != made[1]


def test_a_refusal_carries_the_request_id_too() -> None:
    world = World()
    refusals = [
        world.inference.refuse(head("GET", x_request_id="seven")),
        world.inference.refuse(head(content_type="image/png", x_request_id="seven")),
    ]
    assert all(answer is not None and headers(answer).get("x-request-id") == "seven" for answer in refusals)


def test_a_good_answer_has_the_outputs_and_these_headers() -> None:
    answer = World().handle()
    assert answer.status == 200
    assert json.loads(answer.body)["outputs"] == {"y": [[1, 2, 3]]}
    assert headers(answer).keys() == {
        "content-type",
        "server-timing",
        "x-model-version",
        "x-execution-provider",
        "x-request-id",
    }
    assert headers(answer)["x-model-version"] == "2"
    assert headers(answer)["x-execution-provider"] == "CPUExecutionProvider"


def test_server_timing_has_every_phase_in_milliseconds() -> None:
    timing = headers(World().handle())["server-timing"]
    assert timing == "decode;dur=1.000, queue;dur=1.000, compute;dur=1.000, encode;dur=2.000, total;dur=5.000"


def test_the_body_reaches_the_dialect_as_it_was_sent() -> None:
    seen: list[Any] = []

    def decode(body: bytes, timings: Timings) -> InferRequest:
        seen.append((body, timings.received))
        return InferRequest("m", None, lambda _: {}, timings)

    World().handle(b"\x00raw\xff", through=Route(decode, lambda *_: b"{}"))
    assert seen == [(b"\x00raw\xff", 1.0)]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidInput("x: wrong"), 400),
        (NotFound("no model"), 404),
        (TooLarge("rows"), 413),
        (ExecutionFailed("the model failed"), 500),
        (BonsaiError("a fault"), 500),
        (NotReady("loading"), 503),
        (Overloaded("full", retry_after=7), 503),
        (Draining("stopping"), 503),
        (DeadlineExceeded("late"), 504),
    ],
    ids=lambda value: getattr(value, "code", value),
)
def test_an_error_of_the_data_plane_is_answered_and_counted_by_its_code(error: BonsaiError, status: int) -> None:
    world = World(lambda _: error)
    answer = world.handle(x_request_id="seven")
    assert answer.status == status
    assert json.loads(answer.body) == {"error": str(error)}
    assert headers(answer)["x-request-id"] == "seven"
    assert world.counted(error.code) == 1


def test_a_body_that_is_wrong_never_reaches_the_data_plane() -> None:
    world = World()
    assert world.handle(b"nonsense").status == 400
    assert world.dataplane.requests == []
    assert world.counted("invalid_input") == 1


def test_an_answer_that_json_cannot_carry_is_400_and_counted_as_that() -> None:
    def not_a_number(request: InferRequest) -> InferResponse:
        response = answered(request)
        response.outputs = {"y": np.array([[np.nan]], np.float32)}
        return response

    world = World(not_a_number)
    answer = world.handle()
    assert answer.status == 400
    assert "binary" in json.loads(answer.body)["error"]
    assert world.counted("not_representable", "m", "2") == 1


def broken(*_: object) -> Any:
    raise RuntimeError("/secret/path")


@pytest.mark.parametrize("where", ["decode", "encode"])
def test_an_unexpected_exception_in_a_dialect_is_answered_once_and_tells_nothing(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    good = route("/predict")
    assert good is not None
    through = Route(broken, good.encode) if where == "decode" else Route(good.decode, broken)
    world = World()
    answer = world.handle(through=through)
    assert answer.status == 500
    assert json.loads(answer.body) == {"error": "the server failed on this request"}
    assert "/secret/path" in caplog.text
    assert world.handle().status == 200


def test_the_answer_may_come_later() -> None:
    world = World(lambda _: None)
    found = route("/predict")
    assert found is not None
    world.inference.handle(found, head(), BODY, world.answers.append)
    assert world.answers == []
    world.dataplane.replies[0](answered(world.dataplane.requests[0]))
    assert [answer.status for answer in world.answers] == [200]


def test_an_answer_of_the_standard_dialect_is_in_that_dialect() -> None:
    answer = World().handle(json.dumps({"id": "7", "inputs": [TENSOR]}).encode(), "/v2/models/m/infer")
    document = json.loads(answer.body)
    assert (document["model_name"], document["model_version"], document["id"]) == ("m", "2", "7")
    assert document["outputs"][0]["data"] == [1, 2, 3]
    assert signature().outputs[0].datatype == document["outputs"][0]["datatype"]


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (InvalidInput("x"), False),
        (NotFound("x"), False),
        (Overloaded("x"), False),
        (DeadlineExceeded("x"), False),
        (ExecutionFailed("x"), True),
        (BonsaiError("x"), True),
    ],
    ids=lambda value: getattr(value, "code", value),
)
def test_only_a_fault_of_ours_is_logged_as_one(
    error: BonsaiError, logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    World(lambda _: error).handle(x_request_id="seven")
    faults = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.__dict__["fields"]["request_id"] for record in faults] == (["seven"] if logged else [])


def test_a_log_line_tells_what_was_asked_and_answered(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bonsai.requests")
    World(every=True).handle(x_request_id="seven")
    assert caplog.records[-1].__dict__["fields"] == {
        "request_id": "seven",
        "path": "/predict",
        "status": 200,
        "code": "ok",
        "model": "m",
        "version": "2",
        "ms": 5.0,
    }
