"""Bodies: announced, in chunks, in pieces, empty, large."""

import gzip
import json
import random
import struct

import pytest

from tests.http.carriers import WIDE, Carrier
from tests.http.conftest import Connect
from tests.http.wire import BODY, LARGE_BODY, infer, raw_infer, request

LIVE = request(b"", method="GET", target="/livez")


def test_a_request_may_be_cut_anywhere(carrier: Carrier, connect: Connect) -> None:
    raw, wire = infer(1), connect(carrier)
    for cut in range(1, len(raw)):
        assert wire.send(raw[:cut], raw[cut:]).reply().json()["id"] == "1"


CHUNKED = {
    "one chunk": [BODY],
    "bytes": [BODY[n : n + 1] for n in range(len(BODY))],
    "uneven": [BODY[:1], BODY[1:7], BODY[7:]],
}


@pytest.mark.parametrize("chunks", CHUNKED.values(), ids=CHUNKED)
def test_chunks_are_joined(chunks: list[bytes], carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier)
    for _ in range(2):
        assert wire.send(request(chunks=chunks)).reply().status == 200


@pytest.mark.parametrize(
    ("text", "other"),
    [
        (b"1a\r\n", b"1A\r\n"),
        (b"1a\r\n", b"00000001a\r\n"),
        (b"1a\r\n", b"1a;name=value\r\n"),
        (b"1a\r\n", b'1a;name="a b"\r\n'),
        (b"0\r\n", b"000;last\r\n"),
        (b"0\r\n", b"0\r\nX-Check: 7\r\nX-Other:\r\n"),
    ],
)
def test_every_form_of_a_chunk_is_read(text: bytes, other: bytes, carrier: Carrier, connect: Connect) -> None:
    body = BODY.ljust(0x1A)
    raw = request(chunks=[body])
    assert raw.count(text) == 1
    wire = connect(carrier).send(raw.replace(text, other) + infer(2))
    assert wire.reply().status == 200
    assert wire.reply().json()["id"] == "2"


@pytest.mark.parametrize("raw", [request(b""), request(chunks=[]), request(b"", method="PUT").replace(b"PUT", b"POST")])
def test_an_empty_body_is_a_wrong_body(raw: bytes, carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier)
    for _ in range(2):
        reply = wire.send(raw).reply()
        assert reply.status == 400
        assert reply.error.startswith("body")


def test_large_bodies_go_both_ways(carrier: Carrier, connect: Connect) -> None:
    row = [n / 8 for n in range(WIDE)]
    body = json.dumps({"model": "wide", "inputs": [row]}).encode()
    wire = connect(carrier)
    for raw in (request(body), request(chunks=[body[n : n + 5000] for n in range(0, len(body), 5000)])):
        reply = wire.send(raw).reply()
        assert reply.status == 200
        assert reply.json()["outputs"]["y"] == [row]


@pytest.mark.parametrize("cut", [1, 100, 300, 70_000, 300_000, -70_000, -1], ids=str)
def test_a_large_body_may_be_cut_anywhere(cut: int, carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier)
    for turn in range(4):  # from the third one on, its head is known
        values = struct.pack(f"<{WIDE}f", *[turn] * WIDE)
        raw = raw_infer(turn, values)
        reply = wire.send(raw[:cut], raw[cut:] + infer("next")).reply()
        assert reply.status == 200
        assert reply.body.endswith(values)
        assert wire.reply().json()["id"] == "next"


@pytest.mark.parametrize("body", [LARGE_BODY, gzip.compress(random.Random(0).randbytes(300_000))], ids=["JSON", "gzip"])
def test_every_form_of_a_large_body_is_read(body: bytes, carrier: Carrier, connect: Connect) -> None:
    headers, status = ({}, 200) if body is LARGE_BODY else ({"Content_Encoding": "gzip"}, 400)
    for raw in (request(body, **headers), request(body, Expect="100-continue", **headers)):
        wire = connect(carrier)
        for _ in range(3):
            cut = len(raw) - len(body)
            wire.send(raw[:cut])
            if b"100-continue" in raw:
                assert wire.reply().status == 100
            reply = wire.send(raw[cut:]).reply()
            assert reply.status == status, reply.body
            if status == 400:
                assert reply.error.startswith("body: expected JSON, got something else")


def test_a_body_over_the_limit_is_413_before_it_is_sent(carrier: Carrier, connect: Connect) -> None:
    head = request(b"", method="PUT", Content_Length="4000001").replace(b"PUT", b"POST")
    reply = connect(carrier).send(head).reply()
    assert reply.status == 413
    assert "4000000" in reply.error


def test_a_body_over_the_limit_is_413_while_it_is_sent(carrier: Carrier, connect: Connect) -> None:
    head = request(b"", method="PUT", Transfer_Encoding="chunked").replace(b"PUT", b"POST")
    wire = connect(carrier).send(head, *[b"186a0\r\n%b\r\n" % (b" " * 100_000)] * 41)
    assert wire.reply().status == 413


@pytest.mark.parametrize("body", [b"x", b"x" * 200_000])
@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("POST", 405)])
def test_a_body_that_nobody_reads_is_no_next_request(
    method: str, status: int, body: bytes, carrier: Carrier, connect: Connect
) -> None:
    for raw in (
        request(body, method=method, target="/livez"),
        request(method=method, target="/livez", chunks=[body, LIVE]),
    ):
        wire = connect(carrier).send(raw + infer(2))
        assert wire.reply().status == status
        assert wire.reply().json()["id"] == "2"
