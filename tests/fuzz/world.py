"""The real server in this process: every part but the socket, with the models of models.py."""

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import TypeVar
from unittest import mock

import uvicorn
from uvicorn.server import ServerState

from app.api import http_protocol
from app.api.connections import Common
from app.api.heads import Heads
from app.api.http_protocol import HttpProtocol
from app.api.status import Answer
from app.contract.tensors import Signature
from tests import graphs
from tests.api.application import Application, running
from tests.api.inbox import asleep
from tests.api.transport import FakeTransport
from tests.fuzz import models

T = TypeVar("T")

Request = tuple[str, bytes, dict[bytes, bytes]]
"""Path, body and headers."""

LARGEST_BODY = 64 << 10
SMALLEST_BUFFER = 64
"""Bytes from which on the rest of a body goes into a buffer of its own; served bodies have to be larger."""
PATIENCE_SECONDS = 10.0
MOMENTS = 50
"""Turns of the loop; FastAPI takes some ten for an answer."""


class Fault(Exception):
    """What must not be: the message says what."""


class World:
    """Asks the inference door, and opens connections."""

    def __init__(self, application: Application, folder: Path) -> None:
        self.folder = folder
        self.parts = application.parts
        self.signatures: dict[str, Signature] = {
            name: self.parts.repository.acquire(name, None).served.signature for name in self.parts.repository.names()
        }
        self._application = application
        self._faults = _Faults()
        self._config = uvicorn.Config(
            self.parts.app,  # type: ignore[arg-type]  # it takes any ASGI application
            interface="asgi3",
            ws="none",
            log_config=None,
            access_log=False,
        )
        self._state = ServerState()
        self._heads = Heads()

    def ask(self, path: str, body: bytes, headers: dict[bytes, bytes], *beside: Request) -> list[Answer]:
        """The answers to a request and to those that are sent in the same turn of the loop, which may share its run."""
        return self._application.run(self._ask([(path, body, headers), *beside]))

    async def _ask(self, requests: list[Request]) -> list[Answer]:
        door = self.parts.inference
        answers: list[asyncio.Future[Answer]] = []
        for path, body, headers in requests:
            answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            answers.append(answer)
            head = door.read_head("POST", path, headers)
            if head is None:
                raise Fault(f"{path} is no inference path")
            refusal = door.refuse(head)
            if refusal is None:
                door.handle(head, body, time.monotonic(), time.monotonic(), "", answer.set_result)
            else:
                answer.set_result(refusal)
        done = await _patiently(asyncio.gather(*answers))
        self._faults.check()
        return done

    def connect(self, pieces: list[bytes], *, in_turns: bool) -> bytes:
        """What a connection writes for these pieces; `in_turns` lets it answer between them."""
        return self._application.run(self._connect(pieces, in_turns))

    async def _connect(self, pieces: list[bytes], in_turns: bool) -> bytes:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._faults.from_loop)
        transport = FakeTransport()
        connection = HttpProtocol(
            common=Common(self.parts.inference, self._heads, self.parts.inbox, asleep(), PATIENCE_SECONDS, 1000),
            config=self._config,
            server_state=self._state,
            app_state={},
            _loop=loop,
        )
        transport.set_protocol(connection)
        connection.connection_made(transport)
        for piece in pieces:
            if transport.end:
                break
            transport.receive(piece)
            if in_turns:
                await asyncio.sleep(0)
        await _patiently(_answered(connection, transport))
        if not transport.end:
            transport.protocol.eof_received()
        transport.protocol.connection_lost(None)
        await _patiently(asyncio.gather(*self._state.tasks))
        self._faults.check()
        return transport.written


async def _patiently(work: Awaitable[T]) -> T:
    try:
        return await asyncio.wait_for(work, PATIENCE_SECONDS)
    except TimeoutError:
        raise Fault(f"no answer within {PATIENCE_SECONDS:g} s") from None


async def _answered(connection: HttpProtocol, transport: FakeTransport) -> None:
    """Waits for the answers to all that has come whole, and a moment for one to a request of which a part is there."""
    moments = 0
    while connection._is_busy() and not transport.end and moments < MOMENTS:
        moments += connection._body is not None
        await asyncio.sleep(0)


class _Faults(logging.Handler):
    """What is logged as the server's fault, or is left to the loop."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._found: list[str] = []
        logging.getLogger().addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self._found.append(logging.Formatter().format(record))

    def from_loop(self, _: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        self._found.append(f"{context.get('message')}: {context.get('exception')!r}")

    def check(self) -> None:
        if self._found:
            found, self._found = self._found, []
            raise Fault("logged as a fault: " + "\n".join(found))


@contextlib.contextmanager
def world(cache: Path) -> Iterator[World]:
    """The repository is made once in `cache`, and made anew where the code that makes it is newer."""
    folder = cache / "models"
    made = cache / "models.made"
    newest = max(Path(module.__file__ or "").stat().st_mtime for module in (models, graphs))
    if not made.exists() or made.stat().st_mtime < newest:
        shutil.rmtree(folder, ignore_errors=True)
        models.make(folder, cache / "graphs")
        made.touch()
    options = {"poll_seconds": 3600.0, "max_body_bytes": LARGEST_BODY, "slow_request_ms": 60_000.0}
    small_buffers = mock.patch.object(http_protocol, "LARGE", SMALLEST_BUFFER)
    with small_buffers, running(folder, cache / "state", **options) as application:
        opened = World(application, folder)
        assert opened.signatures.keys() == models.NAMES
        yield opened
