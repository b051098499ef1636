"""Limits and time-outs while a request is read. `bonsai serve` alone: stock uvicorn has none of them."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.http.carriers import WIDE, Carrier, carrying, only_protocol
from tests.http.conftest import Connect
from tests.http.wire import BODY, LARGE_BODY, infer, request, slow

READ_SECONDS = 1


@pytest.fixture(scope="module")
def hasty_server(shelf: Path, graphs: Path) -> Iterator[Carrier]:
    with carrying("protocol", shelf, graphs, BONSAI_READ_SECONDS=str(READ_SECONDS)) as carrier:
        yield carrier


@pytest.fixture
def hasty(hasty_server: Carrier) -> Iterator[Carrier]:
    """A server that waits a second for a request."""
    with hasty_server.staying_healthy():
        yield hasty_server


UNFINISHED = {
    "request line": request()[:7],
    "head": request()[:40],
    "no body": request()[: -len(BODY)],
    "body": request()[:-5],
    "large body": request(LARGE_BODY)[:-5],
    "chunk": request(chunks=[BODY])[:-20],
    "last chunk": request(chunks=[BODY])[:-2],
    "empty line": b"\r\n",
}
ANSWERED = [request(b"x" * 100, method="PUT", target=target)[:-5] for target in ("/predict", "/livez")]


def test_a_request_that_does_not_come_whole_in_time_is_408(hasty: Carrier, connect: Connect) -> None:
    begun = time.monotonic()
    before = hasty.failures("request_timeout")
    wires = [connect(hasty).send(sent) for sent in UNFINISHED.values()]
    wires.append(connect(hasty).send(request(Expect="100-continue")[: -len(BODY)]))
    assert wires[-1].reply().status == 100
    wires.append(connect(hasty).send(slow(1) + request()[:-5]))
    assert wires[-1].reply().status == 200
    answered = [connect(hasty).send(sent) for sent in ANSWERED]
    assert [wire.reply().status for wire in answered] == [405, 405]
    silent = connect(hasty)
    for wire in wires:
        reply = wire.reply()
        assert (reply.status, reply.headers["connection"]) == (408, "close")
        assert reply.error == "request: expected the whole of it within 1 seconds"
    for wire in (*wires, *answered, silent):  # one answer at most, and none where there was no request
        wire.assert_ended()
    assert READ_SECONDS <= time.monotonic() - begun < READ_SECONDS + 2.5
    assert hasty.failures("request_timeout") == before + len(wires)


def test_progress_does_not_extend_the_time(hasty: Carrier, connect: Connect) -> None:
    begun = time.monotonic()
    sent = (request(), request(chunks=[BODY[n : n + 1] for n in range(len(BODY))]))
    wires = [connect(hasty).send(raw[:10]) for raw in sent]
    at = 10
    while all(wire.is_silent(0.1) for wire in wires):
        for wire, raw in zip(wires, sent, strict=True):
            wire.send(raw[at : at + 1])
        at += 1
        assert time.monotonic() - begun < READ_SECONDS + 2
    assert [wire.reply().status for wire in wires] == [408, 408]


def test_an_idle_connection_ends_after_five_seconds(hasty: Carrier, connect: Connect) -> None:
    wires = [connect(hasty).send(sent) for sent in (infer(1), request(b"", method="GET", target="/livez"))]
    assert [wire.reply().status for wire in wires] == [200, 200]
    begun = time.monotonic()
    for wire in wires:
        wire.assert_ended()
    assert 4.5 < time.monotonic() - begun < 7


def test_the_time_a_request_takes_to_answer_is_not_the_clients(hasty: Carrier, connect: Connect) -> None:
    begun = time.monotonic()
    wires = [connect(hasty).send(slow(n)) for n in range(300)]
    assert [wire.reply().status for wire in wires] == [200] * 300
    assert time.monotonic() - begun > 1.5 * READ_SECONDS, "too fast a model for this test"


def test_a_client_that_does_not_read_is_cut_off(hasty: Carrier, connect: Connect) -> None:
    wire = connect(hasty, receive_buffer=4096).send(infer(1, "wide", [0.125] * WIDE) * 9)
    with pytest.raises((ConnectionError, AssertionError)):
        for _ in range(60):  # sends nothing more: a connection that is reset says so here
            time.sleep(0.1)
            wire.send(b" ")
        raise TimeoutError("it is still there")


def test_a_client_that_reads_slowly_is_not(hasty: Carrier, connect: Connect) -> None:
    wire = connect(hasty, receive_buffer=4096).send(infer(1, "wide", [0.125] * WIDE) * 9)
    begun = time.monotonic()
    for _ in range(9):
        time.sleep(0.3)
        assert wire.reply().status == 200
    assert time.monotonic() - begun > 2 * READ_SECONDS


@only_protocol("see above")
@pytest.mark.parametrize("target", ["/predict", "/livez"])
@pytest.mark.parametrize(("size", "status"), [(8000, 404), (8200, 414), (60_000, 414)], ids=lambda value: str(value))
def test_a_url_may_be_8_kb(size: int, status: int, target: str, carrier: Carrier, connect: Connect) -> None:
    url = f"{target}/{'x' * (size - len(target) - 1)}"
    reply = connect(carrier).send(request(target=url)).reply()
    assert reply.status == status
    assert reply.error


def headers(count: int, size: int) -> bytes:
    return b"".join(b"X-%d: %b\r\n" % (n, b"x" * size) for n in range(count))


@only_protocol("see above")
@pytest.mark.parametrize("target", ["/predict", "/v2/models/fast/infer"])
def test_headers_may_be_64_kb_and_256(target: str, carrier: Carrier, connect: Connect) -> None:
    for count, size, status in ((200, 300, 200), (1, 64_000, 200), (300, 300, 431), (2000, 1, 431), (1, 70_000, 431)):
        raw = infer(1).replace(b"\r\n", b"\r\n" + headers(count, size), 1)
        wire = connect(carrier).send(raw)
        assert wire.reply().status == status
        if status != 200:
            wire.assert_ended()


@only_protocol("see above")
@pytest.mark.parametrize("sent", [b"GET /x HTTP/1.1\r\nX: ", b"GET /x HTTP/1.1\r\nX"])
def test_a_header_that_never_ends_is_431(sent: bytes, carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier).send(sent, *[b"x" * 1000] * 66)
    assert wire.reply().status == 431
    wire.assert_ended()


@only_protocol("see above")
def test_a_url_that_never_ends_is_414(carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier).send(b"GET /", *[b"x" * 1000] * 9)
    assert wire.reply().status == 414
    wire.assert_ended()


@only_protocol("see above")
@pytest.mark.parametrize("target", ["/predict", "/livez"])
def test_chunks_are_counted(target: str, carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier).send(request(chunks=[b" "] * 70_000, target=target))
    reply = wire.reply()
    if target == "/predict" or reply.status != 405:
        assert reply.status == 413
        assert "chunks" in reply.error or target == "/predict"
    wire.assert_ended()


@only_protocol("see above")
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_limit_of_a_body_holds_for_every_path(method: str, carrier: Carrier, connect: Connect) -> None:
    head = request(b"", method="PUT", target="/livez", Content_Length="4000001").replace(b"PUT", method.encode())
    wire = connect(carrier).send(head, b"x" * 100_000)
    reply = wire.reply()
    assert (reply.status, reply.headers["connection"]) == (413, "close")
    assert "4000000" in reply.error
    wire.assert_ended()


@only_protocol("see above")
def test_a_client_that_goes_on_sending_can_read_its_answer(carrier: Carrier, connect: Connect) -> None:
    """A close while bytes are still coming would reset the connection, and with it the answer."""
    head = request(b"", method="PUT", Content_Length="4000001").replace(b"PUT", b"POST")
    wire = connect(carrier).send(head, *[b"x" * 100_000] * 40)
    assert wire.reply().status == 413
    wire.assert_ended()


@only_protocol("see above")
def test_a_client_that_never_stops_sending_is_cut_off(carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier).send(b"hello\r\n\r\n")
    assert wire.reply().status == 400
    begun = time.monotonic()
    with pytest.raises(ConnectionError):
        while time.monotonic() - begun < 8:
            wire.send(b"x" * 100)
            time.sleep(0.05)
    assert 1.5 < time.monotonic() - begun < 4
