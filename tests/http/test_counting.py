"""Requests that come to no model are counted too, under codes that no client can add to."""

import pytest

from app.api.status import STATUS
from tests.http.carriers import Carrier, only_protocol
from tests.http.conftest import Connect
from tests.http.wire import BODY, infer, request


def head(*lines: str, line: str = "POST /predict HTTP/1.1") -> bytes:
    if not any(text.startswith("Host:") for text in lines):  # HTTP/1.1 demands one
        lines = ("Host: localhost", *lines)
    return "\r\n".join([line, *lines, "\r\n"]).encode()


PUT, LIVE = "PUT /predict HTTP/1.1", "POST /livez HTTP/1.1"
CHUNKED = "Transfer-Encoding: chunked"
LARGE = "Content-Length: 4000001"
MANY_TRAILERS = b"0\r\n" + b"A: b\r\n" * 100
UNREADABLE = {
    "no HTTP": (b"hello\r\n\r\n", "bad_request"),
    "unknown method": (request(method="BREW"), "bad_request"),
    "two hosts": (head("Host: localhost", "Host: b"), "bad_request"),
    "length and coding": (head("Content-Length: 3", CHUNKED), "bad_request"),
    "chunk": (head(CHUNKED) + b"x\r\n", "bad_request"),
    "chunk of a body that is not wanted": (head(CHUNKED, line=PUT) + b"x\r\n", "method_not_allowed"),
    "large body": (head(LARGE), "too_large"),
    "large body, other path": (head(LARGE, line=LIVE), "too_large"),
    "large chunk": (head(CHUNKED) + b"3d0901\r\n", "too_large"),
    "many chunks": (request(chunks=[b" "] * 70_000), "too_large"),
    "long target": (request(target=f"/{'x' * 9000}"), "uri_too_long"),
    "many headers": (head(*(f"X-{number}: a" for number in range(300))), "headers_too_large"),
    "many trailers": (head(CHUNKED) + MANY_TRAILERS, "headers_too_large"),
    "other coding": (head("Transfer-Encoding: gzip, chunked"), "unsupported"),
}


@only_protocol("stock uvicorn answers most of them by itself")
@pytest.mark.parametrize(("sent", "code"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_counts_once(sent: bytes, code: str, carrier: Carrier, connect: Connect) -> None:
    """The time-out of a request is in test_reading.py."""
    before = {one: carrier.failures(one) for one in STATUS}
    wire = connect(carrier).send(sent)
    assert wire.reply().status == STATUS[code]
    wire.assert_ended()
    moved = {one: carrier.failures(one) - count for one, count in before.items()}
    assert {one: count for one, count in moved.items() if count} == {code: 1}


@pytest.mark.parametrize("target", ["/predict", "/v2/models/fast/infer", "/v2/models/none/versions/9/infer"])
def test_another_method_counts(target: str, carrier: Carrier, connect: Connect) -> None:
    before = carrier.failures("method_not_allowed")
    wire = connect(carrier)
    for method in ("GET", "PUT"):
        assert wire.send(request(BODY, method=method, target=target)).reply().status == 405
    assert carrier.failures("method_not_allowed") == before + 2


def test_what_is_no_inference_request_does_not_count(carrier: Carrier, connect: Connect) -> None:
    before = {one: carrier.failures(one) for one in STATUS}
    wire = connect(carrier)
    for method, target, status in (("GET", "/livez", 200), ("PUT", "/livez", 405), ("GET", "/none", 404)):
        assert wire.send(request(b"", method=method, target=target)).reply().status == status
    wire.close()
    assert {one: carrier.failures(one) for one in STATUS} == before


@only_protocol("see above")
def test_a_wrong_request_is_told_its_id_however_it_is_wrong(carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier)
    assert wire.send(infer(1, X_Request_Id="seven")).reply().headers["x-request-id"] == "seven"
    reply = wire.send(head(CHUNKED, "X-Request-Id: eight") + b"x\r\n").reply()
    assert (reply.status, reply.headers["x-request-id"]) == (400, "eight")
    wire.assert_ended()


@only_protocol("see above")
def test_too_many_chunks_are_told_as_such(carrier: Carrier, connect: Connect) -> None:
    reply = connect(carrier).send(request(chunks=[b" "] * 70_000)).reply()
    assert reply.error == "body: expected at most 65536 chunks, got more"
