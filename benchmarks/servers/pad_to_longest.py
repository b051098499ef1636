"""A batcher as one writes it first: what waits, up to a limit, in order of arrival, padded to the longest.

It stands on bare uvicorn, reads tensors as bytes and answers bytes. Like Bonsai it has no timer: a batch is what has
collected while the one before it ran. So how batches are put together is what differs.

Run: python -m benchmarks.servers.pad_to_longest PORT GRAPH THREADS
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime as ort

from benchmarks.servers.stock import serve

MAX_ROWS = 32

Array = np.ndarray[Any, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Waiting = tuple[Array, "asyncio.Future[Array]"]


class Application:
    """An ASGI application around one graph with the inputs input_ids and attention_mask."""

    def __init__(self, graph: str, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as Bonsai has it
        self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._thread = ThreadPoolExecutor(1)
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue()
        self._working: asyncio.Task[None] | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["method"] == "GET":
            await _write(send, b"ready")
            return
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        header = int(dict(scope["headers"])[b"inference-header-content-length"])
        tensors = np.frombuffer(await _read(receive), np.int64, offset=header).reshape(2, -1)
        answer: asyncio.Future[Array] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((tensors, answer))
        await _write(send, (await answer).tobytes())

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._queue.get()]
            while len(batch) < MAX_ROWS and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            rows = await loop.run_in_executor(self._thread, self._run, [tensors for tensors, _ in batch])
            for (_, answer), row in zip(batch, rows, strict=True):
                if not answer.done():  # its client has gone
                    answer.set_result(row)

    def _run(self, texts: list[Array]) -> Array:
        padded = np.zeros((2, len(texts), max(text.shape[1] for text in texts)), np.int64)
        for row, text in enumerate(texts):
            padded[:, row, : text.shape[1]] = text
        outputs: list[Array] = self._session.run(None, {"input_ids": padded[0], "attention_mask": padded[1]})
        return outputs[0]


async def _read(receive: Receive) -> bytes:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _write(send: Send, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    port, graph, threads = sys.argv[1:]
    serve(Application(graph, int(threads)), int(port))
