"""The ASGI carrier of the inference door, in front of the application that serves every other path."""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from app.api.framing import TooLarge
from app.api.inference import Call, Head, Inference
from app.api.status import Answer

WATCH_SECONDS = 0.005
"""A request that takes longer, twice that at most, is watched for a client that hangs up."""
MOST_HEADS = 1024

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class InferenceDoor:
    """A plain ASGI application: no framework between the socket and the inference path."""

    def __init__(self, inference: Inference, application: Application) -> None:
        self.inference = inference
        self._application = application
        self._heads: dict[tuple[Any, ...], Head] = {}
        """Heads that are right, by all that the server tells of them: clients send the same ones over and over."""
        self._watch = _Watch()
        inference.access.keyring.on_change(self._heads.clear)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = (scope.get("method"), scope.get("path"), scope.get("query_string"), *scope.get("headers", ()))
        head = self._heads.get(known)
        if head is None:
            head = await self._read_head(known, scope, receive, send)
            if head is None:
                return
        received = time.monotonic()
        body = await _read_body(receive, self.inference.max_body_bytes)
        if body is None:
            return
        if len(body) > self.inference.max_body_bytes:
            await write(self.inference.unreadable(TooLarge(self.inference.max_body_bytes), head), send)
            return
        answering = _Answering(receive)
        client = scope.get("client")
        peer = client[0] if client else ""
        call = self.inference.handle(head, body, received, time.monotonic(), peer, answering.answer)
        answer = await answering.wait(call, self._watch)
        if answer is not None:
            await write(answer, send)

    async def _read_head(self, known: tuple[Any, ...], scope: Scope, receive: Receive, send: Send) -> Head | None:
        """The head of a request whose body is wanted; None for one that has been answered, here or elsewhere."""
        head = None
        if scope["type"] == "http":
            query = scope.get("query_string", b"")
            head = self.inference.read_head(scope["method"], scope["path"], dict(scope["headers"]), query)
        if head is None:
            await self._application(scope, receive, send)
            return None
        refusal = self.inference.refuse(head)
        if refusal is not None:
            await write(refusal, send)
            return None
        if head.request_id is None:  # one with an id comes once
            if len(self._heads) >= MOST_HEADS:
                self._heads.clear()
            self._heads[known] = head
        return head


class _Answering:
    """Waits for an answer, or for the client to go."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._arrived: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._leaving: asyncio.Task[None] | None = None

    def answer(self, answer: Answer | None) -> None:
        if not self._arrived.done():  # this task may have been cancelled; its batch-mates must not notice
            self._arrived.set_result(answer)

    async def wait(self, call: Call, watch: "_Watch") -> Answer | None:
        """The answer; None where the client went away before it was there."""
        if self._arrived.done():
            return self._arrived.result()
        watch.add(self)
        try:
            return await self._arrived
        finally:
            watch.remove(self)
            if self._leaving is not None:
                self._leaving.cancel()
                self._leaving = None  # breaks a cycle: a large answer is freed at once
            call.cancel()

    def listen(self) -> None:
        """From now on the client is noticed when it leaves."""
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._wait_for_disconnect())

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.answer(None)


class _Watch:
    """Has requests that take longer listen for a client that hangs up: that takes a task each, too much for quick ones.

    One timer looks at all of them.
    """

    def __init__(self) -> None:
        self._new: dict[_Answering, None] = {}
        self._older: dict[_Answering, None] = {}
        self._is_set = False

    def add(self, answering: _Answering) -> None:
        self._new[answering] = None
        if not self._is_set:
            self._set()

    def remove(self, answering: _Answering) -> None:
        self._new.pop(answering, None)
        self._older.pop(answering, None)

    def _set(self) -> None:
        self._is_set = True
        asyncio.get_running_loop().call_later(WATCH_SECONDS, self._look)

    def _look(self) -> None:
        for answering in self._older:
            answering.listen()
        self._older, self._new = self._new, {}
        self._is_set = False
        if self._older:
            self._set()


async def _read_body(receive: Receive, limit: int) -> bytes | None:
    """The whole body, or its beginning as soon as that is longer than `limit`; None where the client went away."""
    chunks: list[bytes] = []
    size = 0
    while size <= limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if not message.get("more_body", False):
            break
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def write(answer: Answer, send: Send) -> None:
    """Sends a whole answer."""
    headers = [*answer.header_list(), (b"content-length", b"%d" % len(answer.body))]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
