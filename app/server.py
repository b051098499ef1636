"""The server process: uvicorn, its signals, and what it says at start and stop."""

import asyncio
import ipaddress
import json
import logging
import resource
import signal
import socket
import time
from functools import partial
from types import FrameType

import uvicorn

from app import __version__
from app.access.keyring import Keyring
from app.api.busy_poll import BusyPoll
from app.api.connections import Common
from app.api.heads import Heads
from app.api.http_protocol import HttpProtocol
from app.errors import BonsaiError, InvalidInput
from app.main import Parts, assemble
from app.repository.model import Model
from app.repository.repository import Repository
from app.settings import Settings
from app.turns import soon

logger = logging.getLogger("bonsai")

BACKLOG = 2048
TICKS_BETWEEN_SWEEPS = 10
"""uvicorn ticks ten times a second."""
OTHER_FILES = 256
"""Open files of the process beside its connections."""
PATIENCE_WHEN_FULL = 0.2
"""The part of its time that a connection has to send or take something while no more fit in."""
LONGEST_EXAMPLE = 500
"""Characters of a request that a person would still paste."""


def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, answers what was taken in, and returns.

    Raises what `assemble` raises, and InvalidInput where the address cannot be listened on.
    """
    parts = assemble(settings)
    listener = _listen(settings.host, settings.port)
    host, port = listener.getsockname()[:2]
    scheme = "http" if settings.tls_certificate is None else "https"
    server = Server(parts, settings, f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")
    _check_certificate(server.config)
    _warn(parts.inference.access.keyring, settings, host)
    # uvicorn raises the signal again when it has drained; with these handlers the process then ends by itself, with 0.
    for caught in (signal.SIGTERM, signal.SIGINT):
        signal.signal(caught, server.handle_exit)
    server.run(sockets=[listener])


class Server(uvicorn.Server):
    """A uvicorn server that begins to drain at the signal and says when the models are ready."""

    def __init__(self, parts: Parts, settings: Settings, url: str) -> None:
        heads = Heads()
        parts.inference.access.keyring.on_change(heads.clear)
        self._max_connections = _allow_files(settings.max_connections)
        self._haste = settings.read_seconds * (1 - PATIENCE_WHEN_FULL)
        busy_poll = BusyPoll(soon, time.monotonic)
        common = Common(parts.inference, heads, parts.inbox, busy_poll, settings.read_seconds, self._max_connections)
        http = partial(HttpProtocol, common=common)
        super().__init__(
            uvicorn.Config(
                parts.app,
                loop="uvloop",
                http=http,  # type: ignore[arg-type]  # it is called with keywords, whatever it is
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ssl_certfile=settings.tls_certificate,
                ssl_keyfile=settings.tls_key,
                backlog=BACKLOG,
                timeout_graceful_shutdown=settings.drain_seconds,
            )
        )
        self._parts = parts
        self._url = url
        self._announcing: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        logger.info("listening", extra={"fields": {"url": self._url, "version": __version__}})
        self._announcing = asyncio.create_task(_announce(self._parts.repository, self._url))

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_BETWEEN_SWEEPS == 0:
            self._sweep()
        return await super().on_tick(counter)

    def _sweep(self) -> None:
        """Ends connections that have waited too long for their clients. While no more fit in that is sooner, so that
        nobody is kept out by those who do nothing."""
        connections = list(self.server_state.connections)
        now = time.monotonic() + (self._haste if len(connections) >= self._max_connections else 0.0)
        for connection in connections:
            if isinstance(connection, HttpProtocol):
                connection.expire(now)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._parts.dataplane.drain()
        super().handle_exit(sig, frame)


async def _announce(repository: Repository, url: str) -> None:
    """Says what to type next, once the first pass over the repository has ended."""
    await repository.settled.wait()
    try:
        model = repository.acquire(None, None)
    except BonsaiError:  # none is ready, or several are
        logger.info("try: %s/docs", url)
        return
    request = _example(model)
    logger.info("try: curl -s %s/predict -d '%s'" if request else "try: %s/docs%s", url, request)


def _example(model: Model) -> str:
    """A /predict body with one row of the model's own sample; empty where nobody would want to paste it."""
    if model.sample is None or model.served.signature.batch_axis is None or len(model.served.signature.inputs) != 1:
        return ""
    row = model.sample[model.served.signature.inputs[0].name][:1]
    if row.dtype.kind == "f" and (row == row.round()).all():
        row = row.astype(int)
    text = json.dumps({"inputs": row.tolist()}, default=str).replace(" ", "")
    return text if len(text) <= LONGEST_EXAMPLE and "'" not in text else ""


def _check_certificate(config: uvicorn.Config) -> None:
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        raise InvalidInput(f"BONSAI_TLS_CERTIFICATE, BONSAI_TLS_KEY: {error.strerror or error}") from None


def _warn(keyring: Keyring, settings: Settings, host: str) -> None:
    """Says what an operator may not have meant."""
    if ipaddress.ip_address(host).is_loopback:
        return
    if keyring.is_open:
        logger.warning("whoever reaches this address may ask: no API key is needed")
    if keyring.has_keys and settings.tls_certificate is None:
        logger.warning("API keys are sent in clear: serve TLS, or let a proxy do it")


def _allow_files(connections: int) -> int:
    """Has the system allow so many connections, and says how many of them it does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + OTHER_FILES
    granted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < granted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    allowed = max(1, granted - OTHER_FILES)
    if allowed < connections:
        logger.warning(
            "%d connections at once instead of %d: the system allows %d open files", allowed, connections, hard
        )
    return allowed


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise InvalidInput(f"cannot listen on {host}:{port}: {error.strerror}") from None
