"""Expect: 100-continue, RFC 9110, section 10.1.1."""

import pytest

from tests.http.carriers import Carrier, only_protocol
from tests.http.conftest import Connect
from tests.http.wire import BODY, Wire, request


def head_of(raw: bytes) -> bytes:
    return raw[: -len(BODY)]


def send_after_continue(wire: Wire, raw: bytes) -> None:
    assert wire.send(head_of(raw)).reply().status == 100
    wire.send(BODY)


@pytest.mark.parametrize("expected", ["100-continue", "100-Continue"])
def test_a_body_that_is_wanted_is_asked_for(expected: str, carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier)
    for _ in range(3):
        send_after_continue(wire, request(Expect=expected))
        assert wire.reply().status == 200


def test_a_chunked_body_is_asked_for_too(carrier: Carrier, connect: Connect) -> None:
    raw = request(chunks=[BODY], Expect="100-continue")
    end = raw.index(b"\r\n\r\n") + 4
    wire = connect(carrier)
    assert wire.send(raw[:end]).reply().status == 100
    assert wire.send(raw[end:]).reply().status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"method": "PUT"}, 405), ({"content_type": "image/gif"}, 415), ({"Content_Encoding": "br"}, 415)],
    ids=str,
)
def test_a_body_that_is_not_wanted_is_not_asked_for(
    headers: dict[str, str], status: int, carrier: Carrier, connect: Connect
) -> None:
    wire = connect(carrier).send(head_of(request(Expect="100-continue", **headers)))
    assert wire.reply().status == status


def test_a_body_that_is_too_large_is_not_asked_for(carrier: Carrier, connect: Connect) -> None:
    head = request(b"", method="PUT", Expect="100-continue", Content_Length="5000000").replace(b"PUT", b"POST")
    assert connect(carrier).send(head).reply().status == 413


@only_protocol("whether stock uvicorn asks depends on when the application reads")
def test_a_body_that_comes_along_need_not_be_asked_for(carrier: Carrier, connect: Connect) -> None:
    assert connect(carrier).send(request(Expect="100-continue")).reply().status == 200


@only_protocol("stock uvicorn keeps the connection, and a client that leaves the body out confuses both")
@pytest.mark.parametrize("target", ["/livez", "/nope", "/v2/repository/models/none/load"])
def test_where_no_body_is_asked_for_the_connection_ends_elsewhere_too(
    target: str, carrier: Carrier, connect: Connect
) -> None:
    method = "POST" if target.endswith("load") else "GET"
    head = request(b"", method=method, target=target, Expect="100-continue").removesuffix(b"\r\n")
    head = head.replace(b"Content-Length: 0\r\n", b"") + b"Content-Length: 40\r\n\r\n"
    assert connect(carrier).send(head).reply().headers["connection"] == "close"


@only_protocol("stock uvicorn asks HTTP/1.0 clients too")
def test_http_1_0_is_not_asked_for_a_body_elsewhere_either(carrier: Carrier, connect: Connect) -> None:
    raw = request(b"{}", target="/v2/repository/index", version="HTTP/1.0", Expect="100-continue")
    wire = connect(carrier).send(raw[:-2])
    wire.send(raw[-2:])
    assert wire.reply().status == 200


@only_protocol("stock uvicorn keeps the connection, and a client that then sends its body confuses both")
def test_after_a_refusal_the_connection_ends(carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier).send(head_of(request(Expect="100-continue", content_type="image/gif")))
    assert wire.reply().headers["connection"] == "close"
    wire.assert_ended()


@only_protocol("stock uvicorn sends it")
def test_http_1_0_knows_no_continue(carrier: Carrier, connect: Connect) -> None:
    raw = request(version="HTTP/1.0", Expect="100-continue")
    wire = connect(carrier).send(head_of(raw))
    assert wire.is_silent(0.05)
    assert wire.send(BODY).reply().status == 200


def test_a_wait_for_continue_does_not_jump_the_queue(carrier: Carrier, connect: Connect) -> None:
    raw = request(Expect="100-continue")
    wire = connect(carrier).send(request() + head_of(raw))
    assert [wire.reply().status for _ in range(2)] == [200, 100]
    assert wire.send(BODY).reply().status == 200
