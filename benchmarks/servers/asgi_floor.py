"""The least that an ASGI application can do around a small model: what came together is one run, and nothing else.

It reads a row from each body, runs the rows that came within two turns of the event loop together, and answers with as
many headers as Bonsai. It looks at no header, checks nothing, counts nothing, times nothing.

Run: python -m benchmarks.servers.asgi_floor PORT GRAPH
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import numpy as np
import orjson

from benchmarks.servers.floor import DECODER, open_session
from benchmarks.servers.stock import serve

Message = MutableMapping[str, Any]
HEADERS = [
    (b"content-type", b"application/json"),
    (b"x-model-version", b"1"),
    (b"x-execution-provider", b"CPUExecutionProvider"),
    (b"x-request-id", b"0123456789abcdef"),
    (
        b"server-timing",
        b"decode;dur=0.025, queue;dur=0.026, compute;dur=0.018, encode;dur=0.012, total;dur=0.082",
    ),
]


class Floor:
    """A graph of one input and one output."""

    def __init__(self, graph: str) -> None:
        self._session = open_session(graph)
        self._input = self._session.get_inputs()[0].name
        self._arrived: list[tuple[bytes, asyncio.Future[bytes]]] = []
        self._seen = 0

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        body = (await receive())["body"]
        answer = await self._predict(body) if scope["method"] == "POST" else b"{}"
        headers = [*HEADERS, (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def _predict(self, body: bytes) -> asyncio.Future[bytes]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        if not self._arrived:
            loop.call_soon(self._turn, loop)
        self._arrived.append((body, answer))
        return answer

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        if len(self._arrived) > self._seen + 1:
            self._seen = len(self._arrived)
            loop.call_soon(self._turn, loop)
            return
        arrived, self._arrived, self._seen = self._arrived, [], 0
        rows = [DECODER.decode(body).inputs[0] for body, _ in arrived]
        (output,) = self._session.run(None, {self._input: np.array(rows, np.float32)})
        texts = orjson.dumps(output, option=orjson.OPT_SERIALIZE_NUMPY)[2:-2].split(b"],[")
        for (_, answer), text in zip(arrived, texts, strict=True):
            answer.set_result(b'{"outputs":[[%b]]}' % text)


if __name__ == "__main__":
    serve(Floor(sys.argv[2]), int(sys.argv[1]))
