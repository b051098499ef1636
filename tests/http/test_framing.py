"""Bytes that are no request, or that two readers could take for two different ones. `bonsai serve` alone: stock
uvicorn answers them in text/plain, accepts a part of them, and leaves their limits to a proxy."""

import pytest

from tests.http.carriers import Carrier, only_protocol
from tests.http.conftest import Connect
from tests.http.wire import BODY, infer, request, slow

pytestmark = only_protocol("see above")

LENGTH = f"Content-Length: {len(BODY)}"


def raw(*lines: str, body: bytes = BODY, line: str = "POST /predict HTTP/1.1") -> bytes:
    """A request with a Host, which HTTP/1.1 demands."""
    if not any(text.lower().startswith("host:") for text in lines):
        lines = (*lines, "Host: a")
    return "\r\n".join([line, *lines, "\r\n"]).encode("latin-1") + body


def chunked(body: bytes) -> bytes:
    return raw("Host: localhost", "Transfer-Encoding: chunked", body=body)


GARBAGE = {
    "letters": b"hello\r\n\r\n",
    "a letter at a time": b"h",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": raw(LENGTH, line="POST /predict"),
    "HTTP/0.9": raw(LENGTH, line="POST /predict HTTP/0.9"),
    "HTTP/1.2": raw(LENGTH, line="POST /predict HTTP/1.2"),
    "HTTP/2.0": raw(LENGTH, line="POST /predict HTTP/2.0"),
    "version in lower case": raw(LENGTH, line="POST /predict http/1.1"),
    "RTSP": raw(line="DESCRIBE rtsp://a/predict RTSP/1.0"),
    "ICE": raw(line="SOURCE /predict ICE/1.0"),
    "unknown method": raw(LENGTH, line="BREW /predict HTTP/1.1"),
    "method in lower case": raw(LENGTH, line="post /predict HTTP/1.1"),
    "tab in the request line": raw(LENGTH, line="POST\t/predict HTTP/1.1"),
    "space after the version": raw(LENGTH, line="POST /predict HTTP/1.1 "),
    "LF after the request line": raw(LENGTH).replace(b"\r\n", b"\n", 1),
    "LF after a header": raw("Host: a\nX: b", LENGTH),
    "LF only": raw("Host: localhost", LENGTH).replace(b"\r\n", b"\n"),
    "CR alone": raw("X: a\rb", LENGTH),
    "NUL in a value": raw("X: a\0b", LENGTH),
    "NUL in a name": raw("X\0: a", LENGTH),
    "no colon": raw("X", LENGTH),
    "no name": raw(": a", LENGTH),
    "space before the colon": raw(f"Content-Length : {len(BODY)}"),
    "space before the first header": raw(" Host: a", LENGTH),
    "folded header": raw("X: a", " b", LENGTH),
    "folded length": raw("Content-Length:", f" {len(BODY)}"),
    "two hosts": raw("Host: localhost", "Host: b", LENGTH),
    "the same host twice": raw("Host: localhost", "host: a", LENGTH),
    "two lengths": raw(LENGTH, "Content-Length: 3"),
    "the same length twice": raw(LENGTH, LENGTH),
    "lengths in a list": raw(f"{LENGTH}, {len(BODY)}"),
    "length with a sign": raw(f"Content-Length: +{len(BODY)}"),
    "negative length": raw("Content-Length: -1"),
    "length in hexadecimal": raw("Content-Length: 0x1a"),
    "length with a point": raw("Content-Length: 26.0"),
    "empty length": raw("Content-Length: "),
    "length of 30 digits": raw(f"Content-Length: {'9' * 30}"),
    "length and coding": raw(LENGTH, "Transfer-Encoding: chunked"),
    "coding and length": raw("Transfer-Encoding: chunked", LENGTH),
    "chunked twice": raw("Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "chunked in two headers": raw("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "chunked not last": raw("Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n"),
    "coding identity": raw("Transfer-Encoding: identity", LENGTH),
    "vertical tab in the coding": raw("Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "chunked in HTTP/1.0": raw("Transfer-Encoding: chunked", line="POST /predict HTTP/1.0", body=b"0\r\n\r\n"),
}


@pytest.mark.parametrize("sent", GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_request_is_400_at_once_and_the_end(sent: bytes, carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier).send(sent)
    reply = wire.reply()
    assert reply.status in (400, 501)
    assert reply.error
    assert reply.headers["connection"] == "close"
    wire.assert_ended()


CHUNKS = {
    "no number": b"x\r\nabc\r\n",
    "empty size": b"\r\nabc\r\n",
    "negative size": b"-1\r\nabc\r\n",
    "0x": b"0x3\r\nabc\r\n",
    "underscore": b"1_0\r\n0123456789abcdef\r\n",
    "space before the size": b" 3\r\nabc\r\n",
    "size of 17 digits": b"00000000000000003\r\nabc\r\n",
    "LF after the size": b"3\nabc\r\n",
    "CR in the extension": b"3;a\rb\r\nabc\r\n",
    "NUL in the extension": b"3;\0\r\nabc\r\n",
    "content longer than the size": b"3\r\nabcdef\r\n",
    "LF after the content": b"3\r\nabc\n0\r\n\r\n",
    "nothing after the content": b"3\r\nabc0\r\n\r\n",
    "extension that never ends": b"3;" + b"a" * 10_000,
    "trailer without a colon": b"0\r\nabc\r\n\r\n",
    "LF after a trailer": b"0\r\nA: b\n\r\n",
    "folded trailer": b"0\r\nA: b\r\n c\r\n\r\n",
    "trailer that never ends": b"0\r\nA: " + b"a" * 10_000,
}


@pytest.mark.parametrize("target", [b"/predict", b"/livez"])
@pytest.mark.parametrize("body", CHUNKS.values(), ids=CHUNKS)
def test_broken_chunks_are_400_at_once_and_the_end(
    body: bytes, target: bytes, carrier: Carrier, connect: Connect
) -> None:
    """/livez may have been answered before its body was looked at."""
    wire = connect(carrier).send(chunked(body).replace(b"/predict", target))
    reply = wire.reply()
    if target == b"/predict" or reply.status != 405:
        assert (reply.status, reply.headers["connection"]) == (400, "close")
        assert reply.error.startswith("chunked body")
    wire.assert_ended()


def test_a_trailer_of_many_fields_is_refused(carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier).send(chunked(b"0\r\n" + b"A: b\r\n" * 100))
    assert wire.reply().status == 431
    wire.assert_ended()


@pytest.mark.parametrize("before", [infer(1), slow(1), request(chunks=[BODY])], ids=["fast", "slow", "chunked"])
@pytest.mark.parametrize("sent", [b"hello\r\n\r\n", chunked(b"x\r\n"), b"\0"], ids=["head", "body", "byte"])
def test_a_good_request_is_answered_before_the_bad_one_behind_it(
    sent: bytes, before: bytes, carrier: Carrier, connect: Connect
) -> None:
    wire = connect(carrier).send(before + sent)
    assert [wire.reply().status for _ in range(2)] == [200, 400]
    wire.assert_ended()


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
CONFUSING = {
    "length over chunked": raw("Host: localhost", "Content-Length: 4", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "hidden by a space": raw("Host: localhost", LENGTH, "Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
    "hidden by a coding": raw("Host: localhost", LENGTH, "Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "gzip, chunked": raw("Host: localhost", "Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "a chunk line of LF": chunked(b"0\n\r\n"),
    "last chunk without its end": chunked(b"0\r\n\n"),
    "LF in a header": raw("X: a\nContent-Length: 0", LENGTH, body=b""),
}


@pytest.mark.parametrize("sent", CONFUSING.values(), ids=CONFUSING)
def test_what_could_be_read_in_two_ways_is_not_read_at_all(sent: bytes, carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier).send(sent + SMUGGLED)
    assert wire.reply().status in (400, 501)
    wire.assert_ended()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_in_a_body_stays_a_body(method: str, carrier: Carrier, connect: Connect) -> None:
    for sent in (request(SMUGGLED, method=method), request(chunks=[SMUGGLED], method=method)):
        wire = connect(carrier).send(sent + request(b"", method="GET", target="/livez"))
        first = wire.reply()
        assert first.status == (405 if method == "GET" else 400)
        if first.headers.get("connection") != "close":
            assert wire.reply().status == 200
        else:
            wire.assert_ended()


@pytest.mark.parametrize("sent", [b"garbage", b"\r\n\r\nxyz", b"\0\0"])
def test_garbage_after_a_request_is_no_part_of_it(sent: bytes, carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier).send(infer(1) + sent)
    assert wire.reply().json()["id"] == "1"
    assert wire.reply().status == 400
    wire.assert_ended()


def test_empty_lines_before_a_request_are_skipped(carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier)
    for before in (b"\r\n", b"\r\n\r\n", b"\r\n\r\n\r\n", b"\r\n"):
        assert wire.send(before, infer(1)).reply().status == 200
        assert wire.send(before + infer(1)).reply().status == 200


@pytest.mark.parametrize("target", ["/predict", "/v2/models/fast/infer", "/livez"])
def test_an_offer_of_http_2_is_not_taken_up(target: str, carrier: Carrier, connect: Connect) -> None:
    """As `curl --http2` sends it."""
    upgrade = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2_Settings": "AAMAAABk"}
    good = infer(1)
    body = good[good.index(b"\r\n\r\n") + 4 :]
    wire = connect(carrier)
    for sent in (request(body, target=target, **upgrade), request(chunks=[body], target=target, **upgrade)):
        reply = wire.send(sent + infer(2)).reply()
        assert reply.status == {"/predict": 400, "/livez": 405}.get(target, 200)
        if target == "/predict":
            assert "id" in reply.error  # the body has been read: `id` is of the other dialect
        assert wire.reply().json()["id"] == "2"


def test_an_offer_of_websocket_is_not_taken_up(carrier: Carrier, connect: Connect) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec_WebSocket_Key": "eHh4",
        "Sec_WebSocket_Version": "13",
    }
    wire = connect(carrier).send(request(b"", method="GET", target="/predict", **upgrade))
    assert wire.reply().status == 405
    assert wire.send(infer(2)).reply().json()["id"] == "2"
