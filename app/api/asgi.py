"""The ASGI carrier of the inference door, in front of the application that serves every other path."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
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
        self.watch = _Watch()
        self._inbox = inbox
        self._application = application
        self._heads: Recurring[Known, Head] = Recurring()
        """Heads that are right."""
        inference.access.keyring.on_change(self._heads.clear)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        fields = tuple(scope["headers"])  # servers may give any iterable, to be read once
        try:
            head = self._heads.get((scope["method"], scope["path"], scope.get("query_string", b""), fields))
        except TypeError:  # a list cannot be looked up, and servers may give any pairs
            head = None
        if head is None:
            head = await self._read_head(fields, scope, receive, send)
            if head is None:
                return
        received = time.monotonic()
        message = await receive()
        body = message.get("body", b"")
        if message.get("more_body") is not False or len(body) > self.inference.max_body_bytes:
            body = await self._read_body(head, message, receive, send)
            if body is None:
                return
        exchange = _Exchange()
        exchange.door, exchange.scope, exchange.receive = self, scope, receive
        arrival: Arrival = asyncio.Future()
        exchange.arrival = arrival
        exchange.direct = direct = Direct(head, received, time.monotonic())
        self._inbox.put(exchange, direct, body)
        answer = await arrival
        if answer is not None:  # written here: `write` would be one coroutine more for each
            await send({"type": "http.response.start", "status": answer.status, "headers": answer.header_list()})
            await send({"type": "http.response.body", "body": answer.body})

    async def _read_head(
        self, given: Iterable[Iterable[bytes]], scope: Scope, receive: Receive, send: Send
    ) -> Head | None:
        """The head of a request whose body is wanted; None for one that has been answered, here or elsewhere."""
        method, path, query = scope["method"], scope["path"], scope.get("query_string", b"")
        pairs = tuple((name, value) for name, value in given)
        known = (method, path, query, pairs)
        head = self._heads.get(known)
        if head is not None:
            return head
        fields = [(name, value.strip()) for name, value in pairs]  # servers leave the blanks behind a value
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

    async def _read_body(self, head: Head, message: Message, receive: Receive, send: Send) -> bytes | None:
        """The whole body that begins with `message`; None where the client went away, or was told that its body is too
        long as soon as it was."""
        limit = self.inference.max_body_bytes
        chunks: list[bytes] = []
        size = 0
        while message["type"] != "http.disconnect":
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > limit:
                await write(self.inference.unreadable(TooLarge(limit), head), send)
                return None
            if not message.get("more_body", False):
                return b"".join(chunks)
            message = await receive()
        return None


class _Exchange(Connection):
    """One request of the server in front, and where its answer arrives."""

    __slots__ = ("arrival", "door", "inference", "peer", "receive", "scope")
    arrival: Arrival
    door: InferenceDoor
    scope: Scope
    receive: Receive

    def infer(self, direct: Direct, body: Content) -> None:
        client = self.scope.get("client")
        self.inference, self.peer = self.door.inference, client[0] if client else ""
        super().infer(direct, body)
        if self.direct is not None:  # not answered at once
            self.arrival.add_done_callback(self._end)
            self.door.watch.add(self)

    def _end(self, arrival: Arrival) -> None:
        if arrival.cancelled():  # the server in front has given the request up
            self.leave()

    def answer(self, answer: Answer | None) -> None:
        """None: the client has gone."""
        self.direct = None
        if not self.arrival.done():  # its task may have been cancelled; its batch-mates must not notice
            self.arrival.set_result(answer)

    def fail(self, direct: Direct, fault: Exception) -> None:
        self.answer(self.door.inference.failed(direct.head, fault))

    def listen(self) -> None:
        """From now on the client is noticed when it leaves."""
        listening = asyncio.create_task(self._listen())
        self.arrival.add_done_callback(lambda _: listening.cancel())

    async def _listen(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.leave()
        self.answer(None)


class _Watch:
    """Has requests that take longer listen for a client that hangs up: that takes a task each, too much for quick ones.

    One timer looks at all of them.
    """

    def __init__(self) -> None:
        self._fresh: list[_Exchange] = []
        self._older: list[_Exchange] = []
        self._is_set = False

    def add(self, exchange: _Exchange) -> None:
        self._fresh.append(exchange)
        if not self._is_set:
            self._set()

    def _set(self) -> None:
        self._is_set = True
        asyncio.get_running_loop().call_later(WATCH_SECONDS, self._look)

    def _look(self) -> None:
        for exchange in self._older:
            if not exchange.arrival.done():
                exchange.listen()
        self._older, self._fresh = [exchange for exchange in self._fresh if not exchange.arrival.done()], []
        self._is_set = False
        if self._older:
            self._set()


async def write(answer: Answer, send: Send) -> None:
    """Sends a whole answer."""
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.header_list()})
    await send({"type": "http.response.body", "body": answer.body})
