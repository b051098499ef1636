"""The ASGI carrier of the inference door, in front of the application that serves every other path."""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from app.api.inference import Call, Inference
from app.api.status import Answer

WATCH_AFTER_SECONDS = 0.005
"""A request that takes longer is watched for a client that hangs up: that takes a task, too much for a quick one."""

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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_http = scope["type"] == "http"
        head = self.inference.read_head(scope["method"], scope["path"], dict(scope["headers"])) if is_http else None
        if head is None:
            await self._application(scope, receive, send)
            return
        received = time.monotonic()
        refusal = self.inference.refuse(head)
        if refusal is not None:
            await _write(refusal, send)
            return
        body = await _read_body(receive, self.inference.max_body_bytes)
        if body is None:
            return
        if len(body) > self.inference.max_body_bytes:
            await _write(self.inference.too_large(head), send)
            return
        answering = _Answering(receive)
        client = scope.get("client")
        call = self.inference.handle(head, body, received, client[0] if client else "", answering.answer)
        answer = await answering.wait(call)
        if answer is not None:
            await _write(answer, send)


class _Answering:
    """Waits for an answer, or for the client to go."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._arrived: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._watch: asyncio.Task[None] | None = None

    def answer(self, answer: Answer | None) -> None:
        if not self._arrived.done():  # this task may have been cancelled; its batch-mates must not notice
            self._arrived.set_result(answer)

    async def wait(self, call: Call) -> Answer | None:
        """The answer; None where the client went away before it was there."""
        if self._arrived.done():
            return self._arrived.result()
        timer = asyncio.get_running_loop().call_later(WATCH_AFTER_SECONDS, self._begin_to_watch)
        try:
            return await self._arrived
        finally:
            timer.cancel()
            if self._watch is not None:
                self._watch.cancel()
            call.cancel()

    def _begin_to_watch(self) -> None:
        self._watch = asyncio.create_task(self._wait_for_disconnect())

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.answer(None)


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


async def _write(answer: Answer, send: Send) -> None:
    headers = [*answer.header_list(), (b"content-length", b"%d" % len(answer.body))]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
