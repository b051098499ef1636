"""When a connection stays and when it ends."""

import pytest

from tests.http.carriers import Carrier, only_protocol
from tests.http.conftest import Connect
from tests.http.wire import infer, request


@pytest.mark.parametrize("headers", [{}, {"Connection": "keep-alive"}, {"Connection": "Keep-Alive, x"}], ids=str)
def test_a_connection_serves_any_number_of_requests(
    headers: dict[str, str], carrier: Carrier, connect: Connect
) -> None:
    wire = connect(carrier)
    for number in range(20):
        reply = wire.send(infer(number, **headers)).reply()
        assert (reply.status, reply.json()["id"]) == (200, str(number))
        assert "connection" not in reply.headers
        assert wire.send(request(b"", method="GET", target="/livez", **headers)).reply().status == 200


@pytest.mark.parametrize(
    "raw",
    [
        request(Connection="close"),
        request(b"not json", Connection="close"),
        request(Connection="close", content_type="image/gif"),
        request(b"", method="GET", Connection="close"),
        request(b"", method="GET", target="/livez", Connection="Close"),
        request(b"", method="GET", target="/nope", Connection="close"),
        request(version="HTTP/1.0"),
        request(b"", method="GET", target="/livez", version="HTTP/1.0"),
    ],
    ids=lambda raw: raw.split(b"\r\nHost")[0].decode(),
)
def test_a_client_that_asks_for_the_end_gets_it_after_its_answer(
    raw: bytes, carrier: Carrier, connect: Connect
) -> None:
    wire = connect(carrier).send(raw)
    assert wire.reply().headers["connection"] == "close"
    wire.assert_ended()


def test_what_follows_the_last_request_is_not_answered(carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier).send(infer(1, Connection="close") + infer(2))
    assert wire.reply().json()["id"] == "1"
    wire.assert_ended()


@only_protocol("uvicorn closes after every answer to HTTP/1.0, which is allowed")
def test_http_1_0_stays_where_it_asks_to(carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier)
    for number in range(3):
        reply = wire.send(infer(number, version="HTTP/1.0", Connection="keep-alive")).reply()
        assert (reply.status, reply.headers["connection"]) == (200, "keep-alive")


@pytest.mark.parametrize("raw", [request(), request(b"", method="GET", target="/livez"), request(b"not json")])
def test_an_answer_says_when_it_was_made(raw: bytes, carrier: Carrier, connect: Connect) -> None:
    assert connect(carrier).send(raw).reply().headers["date"].endswith(" GMT")


@pytest.mark.parametrize("raw", [request(x_request_id="seven"), request(b"[", x_request_id="seven")])
def test_a_request_id_comes_back_each_time(raw: bytes, carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier)
    for _ in range(3):
        assert wire.send(raw).reply().headers["x-request-id"] == "seven"


def test_the_same_head_with_another_body_gets_another_answer(carrier: Carrier, connect: Connect) -> None:
    """A head that was read before is not parsed again; its body is."""
    wire = connect(carrier)
    one, two = (request(b'{"inputs": [[%d, 0, 0, 0]]}' % n) for n in (1, 2))
    outputs = [wire.send(raw).reply().json()["outputs"]["y"][0] for raw in (one, two, one, two)]
    assert outputs[0] == outputs[2] != outputs[1] == outputs[3]
    assert outputs[1] == pytest.approx([2 * value for value in outputs[0]], rel=1e-5)


def test_a_head_that_was_read_before_with_more_or_less_than_its_body(carrier: Carrier, connect: Connect) -> None:
    wire, raw = connect(carrier), infer(1)
    assert wire.send(raw).reply().status == 200
    wire.send(raw + infer(2))
    assert [wire.reply().json()["id"] for _ in range(2)] == ["1", "2"]
    wire.send(raw[:-1])
    assert wire.is_silent(0.05)
    wire.send(raw[-1:] + infer(3))
    assert [wire.reply().json()["id"] for _ in range(2)] == ["1", "3"]
