"""The ASGI carrier of the inference door, in front of the application that serves every other path."""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from app.api.connections import Connection, Inbox
from app.api.direct import Direct
from app.api.framing import TooLarge
from app.api.inference import Head, Inference
from app.api.recurring import Recurring
from app.api.status import Answer
from app.protocol.messages import Content

WATCH_SECONDS = 0.005
"""A request that takes longer, twice that at most, is watched for a client that hangs up."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Fields = tuple[tuple[bytes, bytes], ...]
Known = tuple[str, str, bytes, Fields]
"""All that a server tells of a head."""
Arrival = asyncio.Future[Answer | None]
"""Of an answer; None where the client went away before it was there."""


class InferenceDoor:
    """A plain ASGI application: no framework between the socket and the inference path."""

    def __init__(self, inference: Inference, inbox: Inbox, application: Application) -> None:
        self.inference = inference
        self._inbox = inbox
        self._application = application
        self._heads: Recurring[Known, Head] = Recurring()
        """Heads that are right."""
        self._watch = _Watch()
        inference.access.keyring.on_change(self._heads.clear)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        # Servers may give any iterable, to be read once, of any pairs.
        known = (scope["method"], scope["path"], scope.get("query_string", b""), tuple(map(tuple, scope["headers"])))
        head = self._heads.get(known)
        if head is None:
            head = await self._read_head(known, scope, receive, send)
            if head is None:
                return
        received = time.monotonic()
        message = await receive()
        limit = self.inference.max_body_bytes
        if message.get("more_body") is False:
            body = message.get("body", b"")
        else:
            body = await _read_body(message, receive, limit)
            if body is None:
                return
        if len(body) > limit:
            await write(self.inference.unreadable(TooLarge(limit), head), send)
            return
        client = scope.get("client")
        exchange = _Exchange(self.inference, client[0] if client else "", receive, self._watch)
        direct = exchange.direct = Direct(head, received, time.monotonic())
        self._inbox.put(exchange, direct, body)
        try:
            answer = await exchange.arrival
        finally:
            exchange.leave()
        if answer is not None:
            await write(answer, send)

    async def _read_head(self, known: Known, scope: Scope, receive: Receive, send: Send) -> Head | None:
        """The head of a request whose body is wanted; None for one that has been answered, here or elsewhere."""
        method, path, query, given = known
        fields = [(name, value.strip()) for name, value in given]  # servers leave the blanks behind a value
        head = self.inference.read_head(method, path, dict(fields), query)
        if head is None:
            await self._application({**scope, "headers": fields}, receive, send)
            return None
        refusal = self.inference.refuse(head)
        if refusal is not None:
            await write(refusal, send)
            return None
        size = len(path) + len(query) + sum(len(name) + len(text) + 4 for name, text in fields)  # as HTTP/1.1 has them
        self._heads.keep(known, size, head)
        return head


class _Exchange(Connection):
    """One request of the server in front, and where its answer arrives."""

    __slots__ = ("_receive", "_watch", "arrival", "inference", "peer")

    def __init__(self, inference: Inference, peer: str, receive: Receive, watch: "_Watch") -> None:
        self.inference = inference
        self.peer = peer
        self.direct: Direct | None = None
        self.arrival: Arrival = asyncio.get_running_loop().create_future()
        self._receive = receive
        self._watch = watch

    def infer(self, direct: Direct, body: Content) -> None:
        super().infer(direct, body)
        if self.direct is not None:  # not answered at once
            self._watch.add(self.arrival, self._receive)

    def answer(self, answer: Answer) -> None:
        self.direct = None
        _settle(self.arrival, answer)

    def fail(self, direct: Direct, fault: Exception) -> None:
        self.answer(self.inference.failed(direct.head, fault))


def _settle(arrival: Arrival, answer: Answer | None) -> None:
    if not arrival.done():  # its task may have been cancelled; its batch-mates must not notice
        arrival.set_result(answer)


class _Watch:
    """Has requests that take longer listen for a client that hangs up: that takes a task each, too much for quick ones.

    One timer looks at all of them.
    """

    def __init__(self) -> None:
        self._fresh: list[tuple[Arrival, Receive]] = []
        self._older: list[tuple[Arrival, Receive]] = []
        self._is_set = False

    def add(self, arrival: Arrival, receive: Receive) -> None:
        self._fresh.append((arrival, receive))
        if not self._is_set:
            self._set()

    def _set(self) -> None:
        self._is_set = True
        asyncio.get_running_loop().call_later(WATCH_SECONDS, self._look)

    def _look(self) -> None:
        for arrival, receive in self._older:
            if not arrival.done():
                _listen(arrival, receive)
        self._older, self._fresh = [waiting for waiting in self._fresh if not waiting[0].done()], []
        self._is_set = False
        if self._older:
            self._set()


def _listen(arrival: Arrival, receive: Receive) -> None:
    """From now on the client is noticed when it leaves."""

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        _settle(arrival, None)

    listening = asyncio.create_task(listen())
    arrival.add_done_callback(lambda _: listening.cancel())


async def _read_body(message: Message, receive: Receive, limit: int) -> bytes | None:
    """The whole body that begins with `message`, or its beginning as soon as that is longer than `limit`; None where
    the client went away."""
    chunks: list[bytes] = []
    size = 0
    while message["type"] != "http.disconnect":
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit or not message.get("more_body", False):
            return b"".join(chunks)
        message = await receive()
    return None


async def write(answer: Answer, send: Send) -> None:
    """Sends a whole answer."""
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.header_list()})
    await send({"type": "http.response.body", "body": answer.body})
