"""The ASGI carrier of the inference door: bodies in pieces, clients that leave, and what is passed on."""

import asyncio
from typing import Any
from unittest.mock import Mock

import pytest

from app.api.asgi import Application, InferenceDoor
from app.api.inference import Call
from tests.api.inbox import inbox
from tests.api.world import BODY, LIMIT, World, answered, chunk, exchange


async def refuses(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError(f"passed on: {scope}")


def door(world: World, application: Application = refuses) -> InferenceDoor:
    return InferenceDoor(world.inference, inbox(), application)


def sent_status(sent: list[Any]) -> int:
    """The status of one whole answer whose content-length is right."""
    start, body = sent
    assert (start["type"], body["type"]) == ("http.response.start", "http.response.body")
    assert dict(start["headers"])[b"content-length"] == b"%d" % len(body["body"])
    assert not body.get("more_body", False)
    status: int = start["status"]
    return status


@pytest.mark.parametrize("pieces", [[BODY], [BODY[:5], BODY[5:]], [b"", BODY, b""], [bytes([byte]) for byte in BODY]])
def test_a_body_in_pieces_is_joined(pieces: list[bytes]) -> None:
    world = World()
    chunks = [chunk(piece, more=index < len(pieces) - 1) for index, piece in enumerate(pieces)]
    assert sent_status(asyncio.run(exchange(door(world), *chunks))) == 200
    assert len(world.dataplane.requests) == 1


@pytest.mark.parametrize("more", [{}, {"more_body": False}], ids=repr)
def test_a_message_without_a_body_is_an_empty_body(more: dict[str, bool]) -> None:
    assert sent_status(asyncio.run(exchange(door(World()), {"type": "http.request", **more}))) == 400


def test_a_body_as_long_as_the_limit_is_read() -> None:
    body = BODY + b" " * (LIMIT - len(BODY))
    assert sent_status(asyncio.run(exchange(door(World()), chunk(body)))) == 200
    assert sent_status(asyncio.run(exchange(door(World()), chunk(body, more=True), chunk(b"")))) == 200


@pytest.mark.parametrize("sizes", [[LIMIT + 1], [LIMIT, 1], [600, 600], [0, LIMIT, 0, 1]])
def test_a_body_over_the_limit_is_413_as_soon_as_it_is_over(sizes: list[int]) -> None:
    """`exchange` fails if the door asks for one message more than it needs."""
    world = World()
    sent = asyncio.run(exchange(door(world), *(chunk(b"x" * size, more=True) for size in sizes)))
    assert sent_status(sent) == 413
    assert world.dataplane.requests == []


def test_what_is_wrong_by_its_head_is_answered_without_reading_the_body() -> None:
    assert sent_status(asyncio.run(exchange(door(World()), method="GET"))) == 405
    long = [(b"content-length", b"%d" % (LIMIT + 1))]
    assert sent_status(asyncio.run(exchange(door(World()), headers=long))) == 413


@pytest.mark.parametrize("before", [[], [chunk(b"{", more=True)]], ids=["at once", "mid-body"])
def test_a_client_that_leaves_before_its_body_ends_costs_nothing(before: list[Any]) -> None:
    world = World()
    assert asyncio.run(exchange(door(world), *before, {"type": "http.disconnect"})) == []
    assert world.dataplane.requests == []


def test_a_cancelled_request_does_not_disturb_the_one_that_answers_it() -> None:
    """The batcher replies to every request of a batch in a row: an exception would leave the rest waiting."""

    async def scenario() -> None:
        arrived = asyncio.Event()
        world = World(lambda _: arrived.set() if len(world.dataplane.requests) == 3 else None)
        tasks = [asyncio.create_task(exchange(door(world), chunk(BODY))) for _ in range(3)]
        await arrived.wait()
        tasks[1].cancel()
        await asyncio.wait([tasks[1]])
        assert tasks[1].cancelled()
        for request, reply in zip(world.dataplane.requests, world.dataplane.replies, strict=True):
            reply(answered(request))
        assert [sent_status(await task) for task in (tasks[0], tasks[2])] == [200, 200]

    asyncio.run(scenario())


def test_a_client_that_leaves_while_it_waits_has_its_request_cancelled() -> None:
    world = World(lambda _: None)
    sent = asyncio.run(exchange(door(world), chunk(BODY), chunk(b""), {"type": "http.disconnect"}))
    assert sent == []
    assert world.dataplane.cancelled == world.dataplane.requests
    assert len(world.dataplane.cancelled) == 1


def test_a_task_that_is_cancelled_cancels_its_request() -> None:
    async def scenario() -> None:
        arrived = asyncio.Event()
        world = World(lambda _: arrived.set())
        task = asyncio.create_task(exchange(door(world), chunk(BODY)))
        await arrived.wait()
        task.cancel()
        await asyncio.wait([task])
        assert world.dataplane.cancelled == world.dataplane.requests

    asyncio.run(scenario())


def test_an_answer_that_comes_while_the_client_is_watched_is_sent_and_nobody_watches_on() -> None:
    async def scenario() -> None:
        world = World(lambda _: None)
        watched, ended = asyncio.Event(), asyncio.Event()
        messages = iter([chunk(BODY)])
        sent: list[Any] = []

        async def receive() -> Any:
            for message in messages:
                return message
            watched.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
        task = asyncio.create_task(door(world)(scope, receive, send))
        await watched.wait()
        world.dataplane.replies[0](answered(world.dataplane.requests[0]))
        await task
        assert sent_status(sent) == 200
        await ended.wait()

    asyncio.run(asyncio.wait_for(scenario(), 10))


@pytest.mark.parametrize(("client", "peer"), [(("10.0.0.7", 1234), "10.0.0.7"), (None, "")])
def test_a_request_belongs_to_the_address_that_it_came_from(client: Any, peer: str) -> None:
    world = World()
    asyncio.run(exchange(door(world), chunk(BODY), client=client))
    assert [request.client for request in world.dataplane.requests] == [peer]


def test_the_answer_may_come_before_anyone_waits_for_it() -> None:
    assert sent_status(asyncio.run(exchange(door(World(answered)), chunk(BODY)))) == 200


@pytest.mark.parametrize(
    "scope",
    [
        {"path": "/"},
        {"path": "/predict/"},
        {"path": "/v2/models/m"},
        {"type": "websocket", "path": "/predict"},
        {"type": "lifespan"},
    ],
    ids=str,
)
def test_everything_else_goes_to_the_application_untouched(scope: dict[str, Any]) -> None:
    passed: list[Any] = []

    async def application(*given: Any) -> None:
        passed.append(given)

    given = ({"type": "http", "method": "GET", "headers": [], **scope}, object(), object())
    asyncio.run(door(World(), application)(*given))  # type: ignore[arg-type]
    assert passed == [given]


@pytest.mark.parametrize(
    "headers",
    [
        [[b"content-type", b"application/json"]],
        ([b"content-type", b"application/json"],),
        [(b"content-type", b"application/json")],
    ],
    ids=repr,
)
@pytest.mark.parametrize("once", [False, True])
def test_headers_may_come_in_any_form_that_the_specification_allows(headers: Any, once: bool) -> None:
    """An iterable of iterables of two, such as lists of lists, or what can be read but once."""
    served = door(World(), seeing := Seeing())
    for _ in range(3):
        given = iter(headers) if once else headers
        assert sent_status(asyncio.run(exchange(served, chunk(BODY), headers=given))) == 200
    given = iter(headers) if once else headers
    asyncio.run(exchange(served, path="/livez", headers=given))
    assert seeing.headers == [(b"content-type", b"application/json")]


class Seeing:
    """An application that reads its headers."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.headers = [tuple(pair) for pair in scope["headers"]]


def test_a_known_head_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    served = door(world)
    for _ in range(2):
        assert sent_status(asyncio.run(exchange(served, chunk(BODY)))) == 200
    monkeypatch.setattr(world.inference, "read_head", None)
    assert sent_status(asyncio.run(exchange(served, chunk(BODY)))) == 200


@pytest.mark.parametrize("headers", [[(b"x-long", b"x" * 2100)], [(b"x", b"")] * 420], ids=["long", "many"])
def test_a_head_of_many_bytes_is_read_each_time(headers: Any) -> None:
    world = World()
    served = door(world)
    read = Mock(wraps=world.inference.read_head)
    world.inference.read_head = read  # type: ignore[method-assign]
    for _ in range(3):
        assert sent_status(asyncio.run(exchange(served, chunk(BODY), headers=headers))) == 200
    assert read.call_count == 3


def test_an_answered_request_is_not_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Call, "cancel", None)
    assert sent_status(asyncio.run(exchange(door(World()), chunk(BODY)))) == 200


def test_of_a_header_sent_twice_one_counts() -> None:
    twice = [(b"content-type", b"application/json"), (b"content-type", b"image/gif")]
    assert sent_status(asyncio.run(exchange(door(World()), headers=twice))) == 415
