"""HTTP/1.1 clients as thin as can be: a connection that carries one request at a time, as bytes."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Answer:
    """A whole answer; names of headers in lower case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


Answered = Callable[[Answer | None], None]
"""Gets None where the connection broke before the answer was whole."""


class Connection(asyncio.Protocol):
    """A keep-alive connection."""

    def __init__(self) -> None:
        self.open = False
        self._received = b""
        self._answered: Answered | None = None

    @classmethod
    async def connect(cls, port: int) -> "Connection":
        _, connection = await asyncio.get_running_loop().create_connection(cls, HOST, port)
        return connection

    def send(self, request: bytes, answered: Answered) -> None:
        """Sends a request; the one before must have been answered."""
        self._answered = answered
        self._transport.write(request)

    async def ask(self, request: bytes) -> Answer:
        """Sends a request and waits. Raises ConnectionError where the connection breaks."""
        waiting: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self.send(request, waiting.set_result)
        answer = await waiting
        if answer is None:
            raise ConnectionError("the connection broke before the answer was whole")
        return answer

    def close(self) -> None:
        """Hangs up, whether or not an answer is on its way."""
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.open = True

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.split(b"\r\n")
        pairs = (line.partition(b":") for line in lines[1:])
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        length = int(headers[b"content-length"])
        if len(rest) >= length:
            self._received = rest[length:]
            self._finish(Answer(int(lines[0].split()[1]), headers, rest[:length]))

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        self._finish(None)

    def _finish(self, answer: Answer | None) -> None:
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(answer)
