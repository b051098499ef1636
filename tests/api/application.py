"""The whole application with real models, in this process: no socket, no server."""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx

from app.api.asgi import InferenceDoor
from app.main import Parts, assemble
from app.settings import Settings

T = TypeVar("T")


class Application:
    """The application on an event loop that runs while a test waits for an answer."""

    def __init__(self, parts: Parts, runner: asyncio.Runner) -> None:
        self.parts = parts
        self.headers: dict[str, str] = {}
        """Sent with every request."""
        self._runner = runner

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def request(self, method: str, path: str, **content: Any) -> httpx.Response:
        return self.run(self.ask(method, path, **content))

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)

    def post(self, path: str, content: bytes = b"", **headers: str) -> httpx.Response:
        return self.request("POST", path, content=content, headers=headers)

    async def ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        headers = self.headers | content.pop("headers", {})
        return await asked(self.parts.app, method, path, headers=headers, **content)


async def asked(app: Any, method: str, path: str, **content: Any) -> httpx.Response:
    """An ASGI application's answer; what it raises becomes its own answer, as on a server."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.request(method, path, **content)


@contextlib.contextmanager
def running(models: Path, state: Path, **settings: object) -> Iterator[Application]:
    """Between its start-up and its shutdown; the first pass over the repository has ended."""
    with asyncio.Runner() as runner:
        parts = assemble(Settings.load(models=models, state=state, **settings))
        lifespan = _Lifespan(parts.app)
        runner.run(lifespan.start())
        try:
            runner.run(parts.repository.settled.wait())
            yield Application(parts, runner)
        finally:
            runner.run(lifespan.stop())


class _Lifespan:
    """The server's side of https://asgi.readthedocs.io/en/latest/specs/lifespan.html."""

    def __init__(self, app: InferenceDoor) -> None:
        self._app = app
        self._received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._sent: asyncio.Queue[Any] = asyncio.Queue()

    async def start(self) -> None:
        self._task = asyncio.create_task(self._app({"type": "lifespan"}, self._received.get, self._sent.put))
        await self._say("startup")

    async def stop(self) -> None:
        await self._say("shutdown")
        await self._task

    async def _say(self, what: str) -> None:
        await self._received.put({"type": f"lifespan.{what}"})
        assert (await self._sent.get())["type"] == f"lifespan.{what}.complete"
