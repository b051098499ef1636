"""The inference door as bytes in, bytes out. The data plane is a fake that answers what the test says."""

import json
import logging
import re
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from app.access.access import Access
from app.access.hosts import ANY, Hosts
from app.access.keyring import Keyring
from app.access.keys import Keys, digest_of
from app.api.framing import TooLarge as BodyTooLarge
from app.api.routes import Route, route
from app.api.status import Answer
from app.dataplane import Reply
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
from app.protocol.messages import Encoded, InferRequest, Outputs, ServedModel, Share, Timings
from tests.api.world import BODY, LIMIT, READ, RECEIVED, World, answered, headers
from tests.collector import no_collector
from tests.protocol.bodies import signature

INFER = "/v2/models/m/infer"
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
    request = found.decode(json.dumps({"inputs": [TENSOR]}).encode(), Timings(0.0), None)
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
    assert World().inference.read_head("POST", path, {}) is None


REFUSED: dict[str, tuple[dict[str, str], int, str]] = {
    "image": (
        {"content_type": "image/gif"},
        415,
        "content-type: expected application/json or one of application/x-npy",
    ),
    "multipart": ({"content_type": "multipart/form-data; boundary=x"}, 415, "multipart/form-data"),
    "text": ({"content_type": "text/html"}, 415, "text/html"),
    "another charset": ({"content_type": "text/plain; Charset=latin-1"}, 415, "text in UTF-8, got charset latin-1"),
    "json lines": ({"content_type": "application/jsonl"}, 415, "application/jsonl"),
    "not ascii": ({"content_type": "é"}, 415, "é"),
    "br": ({"content_encoding": "br"}, 415, "content-encoding: expected gzip, deflate or none, got br"),
    "gzip, br": ({"content_encoding": "gzip, br"}, 415, "gzip, br"),
    "binary": ({"inference_header_content_length": "10"}, 501, "inference-header-content-length"),
    "binary 0": ({"inference_header_content_length": "0"}, 501, "inference-header-content-length"),
    "octet-stream": ({"content_type": "application/octet-stream"}, 415, "application/octet-stream"),
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
    answer = World().refuse(**given)
    assert answer is not None
    assert answer.status == status
    assert list(json.loads(answer.body)) == ["error"]
    assert text in json.loads(answer.body)["error"]


MALFORMED = ("", "-1", "+1", "1.0", "1e3", "0x10", "1 2", "1,1", "²", "ten", "9" * 19, "9" * 5000, str(2**63))


@pytest.mark.parametrize("given", MALFORMED, ids=lambda value: repr(value[:20]))
def test_a_malformed_json_length_is_400_by_its_head(given: str) -> None:
    answer = World().refuse(path=INFER, inference_header_content_length=given)
    assert answer is not None
    assert answer.status == 400
    assert json.loads(answer.body)["error"].startswith("inference-header-content-length: expected a number")


@pytest.mark.parametrize("given", ["", "application/json", "application/octet-stream", "Application/Octet-Stream; a=b"])
def test_a_body_with_a_json_length_is_let_in_on_an_infer_path(given: str) -> None:
    refuse = World().refuse
    assert refuse(path=INFER, content_type=given, inference_header_content_length="0") is None
    answer = refuse(path=INFER, content_type="image/png", inference_header_content_length="0")
    assert answer is not None
    assert answer.status == 415


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "post", "X"])
def test_another_method_is_405_with_the_one_allowed(method: str) -> None:
    world = World()
    answer = world.refuse(method)
    assert answer is not None
    assert (answer.status, headers(answer)["allow"]) == (405, "POST")
    assert world.counted("method_not_allowed") == 1
    assert json.loads(answer.body) == {"error": f"{method} /predict: expected POST"}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"content_type": "application/json"},
        {"content_type": "Application/JSON; charset=utf-8"},
        {"content_type": "application/x-www-form-urlencoded"},
        {"content_encoding": "identity"},
        {"content_encoding": "gzip"},
        {"content_encoding": "x-gzip"},
        {"content_encoding": "Deflate"},
        {"content_encoding": "Identity "},
        {"content_length": str(LIMIT)},
        {"content_length": "0"},
    ],
    ids=str,
)
def test_a_good_head_is_let_in(given: dict[str, str]) -> None:
    assert World().refuse(**given) is None


INFERS = json.dumps({"inputs": [TENSOR]}).encode()
TIMEOUTS = {
    "none": ({}, None, None),
    "the header": ({"x_request_timeout_ms": "1500"}, None, 1.5),
    "a leading zero": ({"x_request_timeout_ms": "0005"}, None, 0.005),
    "the body": ({}, 250, 0.25),
    "the body goes first": ({"x_request_timeout_ms": "1500"}, 250, 0.25),
}


@pytest.mark.parametrize(("given", "milliseconds", "seconds"), TIMEOUTS.values(), ids=TIMEOUTS)
def test_a_timeout_may_come_in_a_header_in_milliseconds(
    given: dict[str, str], milliseconds: int | None, seconds: float | None
) -> None:
    world = World()
    parameters = {} if milliseconds is None else {"timeout": milliseconds * 1000}
    world.handle(json.dumps({"inputs": [TENSOR], "parameters": parameters}).encode(), INFER, **given)
    parameters = {} if milliseconds is None else {"timeout_ms": milliseconds}
    world.handle(json.dumps({"inputs": [[1, 2, 3]], "parameters": parameters}).encode(), **given)
    assert [request.timeout for request in world.dataplane.requests] == [seconds, seconds]


def test_where_the_body_asks_for_no_timeout_the_headers_holds() -> None:
    world = World()
    body = json.dumps({"inputs": [TENSOR], "parameters": {"timeout": 0}}).encode()
    world.handle(body, INFER, x_request_timeout_ms="1500")
    assert world.dataplane.requests[0].timeout == 1.5


@pytest.mark.parametrize(
    "given", ["0", "00", "-1", "+5", "1.5", "1e3", "5 ms", "", " ", "²", "ten", "nan", "inf", "9" * 16, "9" * 5000]
)
@pytest.mark.parametrize("path", ["/predict", INFER])
def test_a_timeout_header_that_is_no_time_is_refused_by_the_head(path: str, given: str) -> None:
    answer = World().refuse(path=path, x_request_timeout_ms=given)
    assert answer is not None
    assert answer.status == 400
    error = json.loads(answer.body)["error"]
    assert error.startswith("x-request-timeout-ms: expected milliseconds, more than 0, got")
    assert len(error) < 1000


def test_a_request_belongs_to_its_peer_and_has_the_priority_of_its_body() -> None:
    world = World()
    world.begin(json.dumps({"inputs": [[1, 2, 3]], "parameters": {"priority": 3}}).encode(), peer="10.0.0.7")
    world.begin(INFERS, INFER, peer="10.0.0.8")
    assert [(asked.client, asked.priority) for asked in world.dataplane.requests] == [("10.0.0.7", 3), ("10.0.0.8", 2)]


def test_a_request_that_is_cancelled_is_cancelled_in_the_data_plane() -> None:
    world = World(lambda _: None)
    first, second = world.begin(), world.begin()
    first.cancel()
    assert world.dataplane.cancelled == [first.request]
    world.dataplane.replies[1](answered(world.dataplane.requests[1]))
    assert [answer.status for answer in world.answers] == [200]
    second.cancel()
    assert [answer.status for answer in world.answers] == [200]


@pytest.mark.parametrize("body", [BODY, b"nonsense"], ids=["answered", "refused"])
def test_cancelling_after_the_answer_is_harmless(body: bytes) -> None:
    world = World()
    world.begin(body).cancel()
    assert len(world.answers) == 1
    assert world.dataplane.cancelled == []


def test_heads_of_the_same_bytes_may_share_one_that_was_read() -> None:
    world = World()
    head = world.head()
    for _ in "ab":
        world.inference.handle(head, BODY, 1.0, 1.0, "", world.answers.append)
    first, second = (headers(answer)["x-request-id"] for answer in world.answers)
    assert first != second
    assert all(answer.status == 200 for answer in world.answers)


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
        world.refuse("GET", x_request_id="seven"),
        world.refuse(content_type="image/gif", x_request_id="seven"),
        world.inference.unreadable(BodyTooLarge(LIMIT), world.head(x_request_id="seven")),
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
        "content-length",
    }
    assert headers(answer)["x-model-version"] == "2"
    assert headers(answer)["x-execution-provider"] == "CPUExecutionProvider"


def test_the_points_of_a_request_begin_with_its_head_and_its_body() -> None:
    world = World()
    call = world.begin()
    assert (call.timings.received, call.timings.read) == (RECEIVED, READ)
    assert call.timings.encoded == world.dataplane.clock()


def test_a_provider_may_have_any_name() -> None:
    def elsewhere(request: InferRequest) -> Share:
        share = answered(request)
        request.served = ServedModel("m", 2, signature(), "50% of a %b")
        return share

    assert headers(World(elsewhere).handle())["x-execution-provider"] == "50% of a %b"


def test_server_timing_has_every_phase_in_milliseconds() -> None:
    timing = headers(World().handle())["server-timing"]
    assert timing == "decode;dur=1.000, queue;dur=1.000, compute;dur=1.000, encode;dur=2.000, total;dur=5.000"


def test_the_body_reaches_the_dialect_as_it_was_sent() -> None:
    seen: list[Any] = []

    def decode(body: bytes, timings: Timings, json_length: int | None) -> InferRequest:
        seen.append((body, timings.received, json_length))
        return InferRequest("m", None, lambda _: {}, timings)

    for given in ({}, {"inference_header_content_length": "4"}, {"inference_header_content_length": "0"}):
        World().handle(b"\x00raw\xff", through=Route(decode, lambda *_: Encoded(b"{}")), **given)
    assert seen == [(b"\x00raw\xff", 1.0, length) for length in (None, 4, 0)]


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
    def not_a_number(request: InferRequest) -> Share:
        answered(request)
        return Share(Outputs({"y": np.array([[np.nan]], np.float32)}))

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
    world.begin()
    assert world.answers == []
    world.dataplane.replies[0](answered(world.dataplane.requests[0]))
    assert [answer.status for answer in world.answers] == [200]


def test_an_answer_of_the_standard_dialect_is_in_that_dialect() -> None:
    answer = World().handle(json.dumps({"id": "7", "inputs": [TENSOR]}).encode(), INFER)
    document = json.loads(answer.body)
    assert (document["model_name"], document["model_version"], document["id"]) == ("m", "2", "7")
    assert document["outputs"][0]["data"] == [1, 2, 3]
    assert signature().outputs[0].datatype == document["outputs"][0]["datatype"]


def test_an_answer_with_raw_tensors_says_where_they_begin() -> None:
    asked = json.dumps({"inputs": [TENSOR], "parameters": {"binary_data_output": True}}).encode()
    answer = World().handle(asked, INFER)
    length = int(headers(answer)["inference-header-content-length"])
    assert headers(answer)["content-type"] == "application/octet-stream"
    assert json.loads(answer.body[:length])["outputs"][0]["parameters"] == {"binary_data_size": 12}
    assert answer.body[length:] == np.array([1, 2, 3], "<f4").tobytes()


@pytest.mark.parametrize(("path", "body"), [("/predict", BODY), (INFER, json.dumps({"inputs": [TENSOR]}).encode())])
def test_an_answer_in_json_alone_says_nothing_of_raw_tensors(path: str, body: bytes) -> None:
    given = headers(World().handle(body, path))
    assert given["content-type"] == "application/json"
    assert "inference-header-content-length" not in given


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


class Waiter:
    """Who gets the answer; it lives no longer than its request."""

    def __call__(self, answer: Answer) -> None: ...


def test_a_request_that_is_cancelled_leaves_nothing_to_the_garbage_collector() -> None:
    """Its body may be large, and clients that hang up come in crowds."""

    class Kept:
        """Keeps its reply, as an entry of the batcher does, and is itself kept by nobody else."""

        def __init__(self, reply: Reply) -> None:
            self.reply = reply

        def cancel(self) -> None: ...

    world = World()
    world.inference._dataplane = SimpleNamespace(infer=lambda request, reply: Kept(reply))  # type: ignore[assignment]

    def cancelled() -> "weakref.ref[Waiter]":
        waiter = Waiter()
        world.inference.handle(world.head(), BODY, RECEIVED, READ, "127.0.0.1", waiter).cancel()
        return weakref.ref(waiter)

    with no_collector():
        assert cancelled()() is None


@pytest.mark.parametrize(
    ("method", "sent"), [("POST", {"x_api_key": "none"}), ("POST", {"content_type": "image/gif"}), ("GET", {})]
)
def test_a_head_that_is_refused_leaves_nothing_to_the_garbage_collector(method: str, sent: dict[str, str]) -> None:
    keyring = Keyring(Keys.model_validate({"a": {"sha256": digest_of("a"), "scopes": ["infer"]}}), None)
    key = {"x_api_key": "a"} if "x_api_key" not in sent else {}
    world = World(access=Access(keyring, Hosts([ANY])))
    fields = Fields((name.replace("_", "-").encode(), text.encode()) for name, text in (key | sent).items())
    kept = weakref.ref(fields)
    with no_collector():
        head = world.inference.read_head(method, "/predict", fields)
        assert head is not None
        assert world.inference.refuse(head) is not None
        del head, fields
        assert kept() is None


class Fields(dict[bytes, bytes]):
    """Headers that can be asked whether they are still there."""
