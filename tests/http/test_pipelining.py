"""Requests that do not wait for the answer before them: answers come whole and in order."""

import socket

import pytest

from tests.http.carriers import Carrier, only_protocol
from tests.http.conftest import Connect
from tests.http.wire import Wire, infer, request, slow

LIVE = request(b"", method="GET", target="/livez")


def identities(wire: Wire, count: int) -> list[str]:
    replies = [wire.reply() for _ in range(count)]
    assert {reply.status for reply in replies} == {200}
    return [reply.json()["id"] for reply in replies]


def test_a_fast_request_does_not_overtake_the_slow_one_before_it(carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier).send(slow(0) + infer(1) + slow(2) + infer(3) + infer(4))
    assert identities(wire, 5) == ["0", "1", "2", "3", "4"]


def test_requests_in_segments_of_their_own_keep_their_order(carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier).send(*(slow(n) if n % 3 == 0 else infer(n) for n in range(12)))
    assert identities(wire, 12) == [str(n) for n in range(12)]


def test_every_kind_of_request_is_answered_in_its_turn(carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier).send(
        slow(0)
        + LIVE
        + request(b"", method="GET", target="/nope")
        + infer(1)
        + request(b"x" * 1000, content_type="image/gif")
        + request(b"{}", method="PUT")
        + request(b"", method="HEAD", target="/predict")
        + request(b"not json")
        + LIVE
        + slow(2)
    )
    methods = ["POST"] * 6 + ["HEAD"] + ["POST"] * 3
    assert [wire.reply(method).status for method in methods] == [200, 200, 404, 200, 415, 405, 405, 400, 200, 200]


def test_a_chunked_body_ends_where_the_next_request_begins(carrier: Carrier, connect: Connect) -> None:
    chunked = request(chunks=[b'{"inputs": [[1, 2,', b" 3, 4]]}"])
    wire = connect(carrier).send(chunked + infer(1) + chunked + chunked + infer(2))
    replies = [wire.reply() for _ in range(5)]
    assert [reply.status for reply in replies] == [200] * 5
    assert [replies[n].json()["id"] for n in (1, 4)] == ["1", "2"]


def test_a_pipeline_may_be_cut_anywhere(carrier: Carrier, connect: Connect) -> None:
    raw = infer(1) + request(chunks=[b'{"inputs":', b"[[1, 2, 3, 4]]}"]) + LIVE + infer(2)
    wire = connect(carrier)
    for cut in range(1, len(raw), 5):
        wire.send(raw[:cut], raw[cut:])
        assert [wire.reply().status for _ in range(4)] == [200] * 4


def test_a_pipeline_may_come_byte_by_byte(carrier: Carrier, connect: Connect) -> None:
    raw = infer(1) + request(chunks=[b'{"inputs":', b"[[1, 2, 3, 4]]}"]) + LIVE + infer(2)
    wire = connect(carrier).send(*(raw[n : n + 1] for n in range(len(raw))))
    assert [wire.reply().status for _ in range(4)] == [200] * 4


@pytest.mark.parametrize("count", [2, 1000])
def test_a_deep_pipeline_is_answered_to_its_end(count: int, carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier).send(b"".join(infer(n) for n in range(count)))
    assert identities(wire, count) == [str(n) for n in range(count)]


def test_a_pipeline_of_refusals_is_answered_to_its_end(carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier).send(slow(0) + request(b"", method="GET", target="/predict") * 1000)
    assert [wire.reply().status for _ in range(1001)] == [200] + [405] * 1000


@only_protocol("stock uvicorn resumes reading with every answer and keeps whatever came")
def test_a_client_that_only_sends_is_not_read_without_bound(carrier: Carrier, connect: Connect) -> None:
    flood = slow("x") * 200
    wire = connect(carrier)
    wire.timeout(0.3)
    sent = 0
    with pytest.raises(socket.timeout):
        while sent < 200 << 20:
            wire.send(flood)
            sent += len(flood)
    wire.reset()
