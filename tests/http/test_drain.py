"""SIGTERM: what was received is answered, idle connections end, and the process too."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.graphs import linear
from tests.http.carriers import COMMANDS, Carrier, carrying
from tests.http.conftest import Connect
from tests.http.wire import BODY, LARGE_BODY, request, slow
from tests.serving import wait_for

LIVE = request(b"", method="GET", target="/livez")


@pytest.fixture(params=COMMANDS)
def draining(request: pytest.FixtureRequest, shelf: Path, graphs: Path) -> Iterator[Carrier]:
    """A server of the test's own, to be stopped."""
    with carrying(request.param, shelf, graphs) as carrier:
        yield carrier


@pytest.fixture(params=COMMANDS)
def quick(request: pytest.FixtureRequest, models: Path, graphs: Path) -> Iterator[Carrier]:
    """A server with one small model, which is soon ready."""
    linear(models / "fast" / "1" / "model.onnx")
    with carrying(request.param, models, graphs) as carrier:
        yield carrier


@pytest.fixture
def bonsai(shelf: Path, graphs: Path) -> Iterator[Carrier]:
    with carrying("protocol", shelf, graphs) as carrier:
        yield carrier


def test_requests_under_way_are_answered(draining: Carrier, connect: Connect) -> None:
    waiting = [connect(draining).send(slow(n)) for n in range(30)]
    idle = connect(draining).send(LIVE)
    assert idle.reply().status == 200
    silent = connect(draining)
    wait_for(lambda: draining.in_flight() > 20, "the requests to be taken in")
    draining.server.process.terminate()
    idle.assert_ended()
    silent.assert_ended()
    replies = [wire.reply() for wire in waiting]
    assert [(reply.status, reply.json()["id"]) for reply in replies] == [(200, str(n)) for n in range(30)]
    assert replies[-1].headers["connection"] == "close"
    for wire in waiting:
        wire.assert_ended()
    with pytest.raises(OSError):
        connect(draining)
    draining.server.process.wait(10)


def test_a_body_that_is_still_arriving_is_waited_for(quick: Carrier, connect: Connect) -> None:
    late = [connect(quick).send(raw[:-5]) for raw in (request(), request(LARGE_BODY), request(chunks=[BODY]))]
    idle = connect(quick).send(LIVE)
    assert idle.reply().status == 200
    quick.server.process.terminate()
    idle.assert_ended()
    for wire, rest in zip(late, (BODY[-5:], BODY[-5:], request(chunks=[BODY])[-5:]), strict=True):
        reply = wire.send(rest).reply()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        wire.assert_ended()
    quick.server.process.wait(10)


def test_a_client_whose_body_is_not_wanted_does_not_hold_the_server(quick: Carrier, connect: Connect) -> None:
    """Its connection is still open on its side."""
    wire = connect(quick).send(request(b"x" * 70_000, method="PUT")[:-5])
    assert wire.reply().status == 405
    quick.server.process.terminate()
    quick.server.process.wait(5)


# Stock uvicorn answers bad framing in text/plain, without a length.


@pytest.mark.parametrize("quick", ["protocol"], indirect=True)
def test_a_client_that_was_hung_up_on_does_not_hold_the_server(quick: Carrier, connect: Connect) -> None:
    """Its connection is still open on its side."""
    broken = request(b"", method="PUT", target="/livez", Transfer_Encoding="chunked") + b"x\r\n"
    wires = [connect(quick).send(sent) for sent in (broken, b"hello")]
    assert [wire.reply().status for wire in wires] == [400, 400]
    quick.server.process.terminate()
    assert quick.server.process.wait(5) == 0


# Stock uvicorn drops what is pipelined behind the request under way, or answers it with 503 once it drains.


def test_a_whole_pipeline_is_answered_and_the_last_answer_says_that_it_is_the_last(
    bonsai: Carrier, connect: Connect
) -> None:
    others = LIVE + request(b"", method="GET")
    pipelines = [b"".join(slow(n) + others for n in range(8)) + last for last in (slow(8), LIVE, slow(8)[:40])]
    wires = [connect(bonsai).send(pipeline) for pipeline in pipelines]
    wait_for(lambda: bonsai.in_flight() > 0, "the first to be taken in")
    bonsai.server.process.terminate()
    for wire, count in zip(wires, (25, 25, 24), strict=True):
        replies = [wire.reply() for _ in range(count)]
        assert [reply.status for reply in replies] == ([200, 200, 405] * 9)[:count]
        assert [reply.json()["id"] for reply in replies[:24:3]] == [str(n) for n in range(8)]
        says = [reply.headers.get("connection") for reply in replies]
        assert says == [None] * 24 + ["close"] * (count - 24)  # of half a head nobody knows whether it is the last
        wire.assert_ended()
    assert bonsai.server.process.wait(10) == 0
