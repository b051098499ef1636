"""Clients that leave, at every stage. `carrier` holds the server against its health after each test."""

from collections.abc import Callable

import pytest

from tests.http.carriers import WIDE, Carrier, only_protocol
from tests.http.conftest import Connect
from tests.http.wire import BODY, LARGE_BODY, Wire, infer, request, slow
from tests.metrics import total
from tests.serving import wait_for

LIVE_WITH_BODY = request(b"x" * 1000, method="GET", target="/livez")

STAGES = {
    "nothing sent": b"",
    "in the request line": request()[:7],
    "in the head": request()[:40],
    "after the head": request()[: -len(BODY)],
    "in the body": request()[:-5],
    "after the head of a large body": request(LARGE_BODY)[: -len(LARGE_BODY)],
    "in a large body": request(LARGE_BODY)[:-5],
    "in a chunk": request(chunks=[BODY])[:-20],
    "between chunks": request(chunks=[BODY])[:-5],
    "in the body of another path": LIVE_WITH_BODY[:-5],
    "in a body that FastAPI reads": request(b'{"ready": true}', target="/v2/repository/index")[:-5],
    "waiting for continue": request(Expect="100-continue")[: -len(BODY)],
    "in the next head": request() + request()[:40],
    "waiting for the answer": slow(1),
    "answered": request(),
    "waiting, in the next head": slow(1) + request()[:40],
}
PIPELINED = {
    "in the next body": slow(1) + request()[:-5],
    "in the next body, a large one": slow(1) + request(LARGE_BODY)[:-5],
    "waiting for answers": slow(1) * 3,
    "other paths behind": slow(1) + request(b"", method="GET", target="/livez") * 3,
}
Leave = Callable[[Wire], None]


@pytest.mark.parametrize("leave", [Wire.close, Wire.reset])
@pytest.mark.parametrize("sent", STAGES.values(), ids=STAGES)
def test_a_client_that_leaves_costs_nothing(sent: bytes, leave: Leave, carrier: Carrier, connect: Connect) -> None:
    neighbour = connect(carrier).send(slow("n"))
    for wire in [connect(carrier) for _ in range(3)]:
        leave(wire.send(sent))
    assert neighbour.reply().json()["id"] == "n"


@only_protocol("stock uvicorn writes to the closed connection, which uvloop refuses with a traceback")
@pytest.mark.parametrize("leave", [Wire.close, Wire.reset])
@pytest.mark.parametrize("sent", PIPELINED.values(), ids=PIPELINED)
def test_a_client_that_leaves_its_pipeline_costs_nothing(
    sent: bytes, leave: Leave, carrier: Carrier, connect: Connect
) -> None:
    for wire in [connect(carrier) for _ in range(3)]:
        leave(wire.send(sent))
    assert connect(carrier).send(slow("n")).reply().json()["id"] == "n"


@pytest.mark.parametrize("leave", [Wire.close, Wire.reset])
def test_clients_that_leave_while_they_are_queued(leave: Leave, carrier: Carrier, connect: Connect) -> None:
    waiting = [connect(carrier).send(slow(n)) for n in range(6)]
    wait_for(lambda: carrier.in_flight() > 0, "the first to be taken in")
    for wire in waiting[::2]:
        leave(wire)
    assert [wire.reply().json()["id"] for wire in waiting[1::2]] == ["1", "3", "5"]


@pytest.mark.parametrize("leave", [Wire.close, Wire.reset])
def test_a_client_that_leaves_while_its_answer_is_written(leave: Leave, carrier: Carrier, connect: Connect) -> None:
    for _ in range(3):
        wire = connect(carrier, receive_buffer=4096).send(infer(1, "wide", [0.125] * WIDE))
        assert not wire.is_silent(5)
        leave(wire)


def test_a_slow_reader_gets_all_of_its_answers(carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier, receive_buffer=4096).send(b"".join(infer(n, "wide", [0.125] * WIDE) for n in range(3)))
    neighbour = connect(carrier).send(slow("n"))
    assert neighbour.reply().json()["id"] == "n"
    replies = [wire.reply().json() for _ in range(3)]
    assert [reply["id"] for reply in replies] == ["0", "1", "2"]
    assert all(reply["outputs"][0]["data"] == [0.125] * WIDE for reply in replies)


@only_protocol("stock uvicorn ends the connection at the end of what the client sends")
@pytest.mark.parametrize("raw", [infer(1), request(b"", method="GET", target="/metrics")], ids=["infer", "metrics"])
def test_a_client_may_close_its_side_once_all_is_sent(raw: bytes, carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier).send(raw * 3).half_close()
    assert [wire.reply().status for _ in range(3)] == [200] * 3
    wire.assert_ended()


@only_protocol("stock uvicorn ends the connection at the end of what the client sends")
def test_what_is_cut_off_behind_a_whole_request_is_not_answered(carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier).send(request() + request()[:-5]).half_close()
    assert wire.reply().status == 200
    wire.assert_ended()


@only_protocol("stock uvicorn reads on only behind an answer")
@pytest.mark.parametrize("leave", [Wire.close, Wire.reset])
def test_a_client_that_leaves_behind_the_beginning_of_its_next_request_is_noticed(
    leave: Leave, carrier: Carrier, connect: Connect
) -> None:
    before = total(carrier.exposition(), "bonsai_cancelled_total")
    wires = [connect(carrier).send(slow(n) + request()[:5]) for n in range(20)]
    wait_for(lambda: carrier.in_flight() > 0, "the first to be taken in")
    for wire in wires:
        leave(wire)
    wait_for(lambda: carrier.in_flight() == 0, "none to be left")
    assert total(carrier.exposition(), "bonsai_cancelled_total") > before


def test_what_is_cut_off_by_its_client_is_not_answered(carrier: Carrier, connect: Connect) -> None:
    for cut in (7, 40, -5):
        connect(carrier).send(request()[:cut]).half_close().assert_ended()
    connect(carrier).half_close().assert_ended()
