"""The ASGI carrier of the inference door, in front of the application that serves every other path."""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from app.api.inference import Head, Inference, Route, route
from app.api.status import Answer

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class InferenceDoor:
    """A plain ASGI application: no framework between the socket and the inference path."""

    def __init__(self, inference: Inference, application: Application) -> None:
        self._inference = inference
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = route(scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await self._application(scope, receive, send)
            return
        head = Head(scope["method"], scope["path"], dict(scope["headers"]), time.monotonic())
        refusal = self._inference.refuse(head)
        if refusal is not None:
            await _write(refusal, send)
            return
        body = await _read_body(receive, self._inference.max_body_bytes)
        if body is None:
            return
        if len(body) > self._inference.max_body_bytes:
            await _write(self._inference.too_large(head), send)
            return
        await _write(await self._infer(found, head, body), send)

    async def _infer(self, found: Route, head: Head, body: bytes) -> Answer:
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def respond(answer: Answer) -> None:
            if not waiting.done():  # this task was cancelled; its batch-mates must not notice
                waiting.set_result(answer)

        self._inference.handle(found, head, body, respond)
        return await waiting


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
    headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
