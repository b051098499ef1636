"""The application: every object is built here, once."""

import asyncio
import contextlib
import gc
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from fastapi import FastAPI

from app import __version__
from app.access.access import Access
from app.access.hosts import Hosts
from app.access.keyring import Keyring
from app.api import configuration, failures, health, metadata, openapi, statistics
from app.api import repository as repository_doors
from app.api.asgi import InferenceDoor
from app.api.connections import Inbox
from app.api.doorkeeper import Doorkeeper
from app.api.fast_path import FastPath
from app.api.inference import Inference
from app.contract.deployment import Deployments
from app.dataplane import DataPlane
from app.repository.repository import Repository
from app.repository.store import FolderStore
from app.repository.watcher import watch
from app.runtime import memory, providers
from app.runtime.graph_cache import GraphCache
from app.settings import Settings
from app.telemetry.logging import RequestLog
from app.telemetry.metrics import Metrics
from app.turns import soon

logger = logging.getLogger("bonsai")

COLLECT_AFTER = 50_000
"""Objects; Python's default is 700."""


class Parts(NamedTuple):
    """What `bonsai serve` needs of the application beside the application itself."""

    app: InferenceDoor
    inference: Inference
    inbox: Inbox
    dataplane: DataPlane
    repository: Repository


def create_app(settings: Settings) -> InferenceDoor:
    """The whole server as one ASGI application, for any ASGI server. Raises what `assemble` raises."""
    return assemble(settings).app


def assemble(settings: Settings) -> Parts:
    """Builds every object.

    Raises LoadFailed where ONNX Runtime is missing or there twice or there is no folder of models, ManifestInvalid
    where deployments.toml is wrong, InvalidInput where the state folder cannot be written.
    """
    providers.check_installation()
    memory.bound(settings.memory_mb)
    memory.return_large_blocks()
    metrics = Metrics()
    repository = Repository(
        FolderStore(settings.models, still_seconds=2 * settings.poll_seconds),
        lambda: Deployments.read(settings.models),
        GraphCache(settings.state / "graphs"),
        metrics,
    )
    dataplane = DataPlane(repository, time.monotonic)
    access = Access(Keyring(settings.keys, settings.keys_file), Hosts.of(settings.hosts, settings.host))
    log = RequestLog(every=settings.log_requests, slow_seconds=settings.slow_request_ms / 1000)
    inference = Inference(dataplane, access, metrics, log, settings.max_body_bytes)
    application = FastAPI(
        title="Bonsai",
        version=__version__,
        lifespan=_lifespan(repository, dataplane, access.keyring, settings),
        redoc_url=None,
        redirect_slashes=False,
    )
    application.include_router(health.router(dataplane, repository, metrics))
    application.include_router(statistics.router(repository, metrics))  # before metadata: `stats` is no model's name
    application.include_router(metadata.router(repository))
    application.include_router(configuration.router(repository))
    application.include_router(repository_doors.router(repository, settings.max_body_bytes))
    failures.install(application)
    openapi.install(application)
    guarded = Doorkeeper(access, application, time.monotonic)
    inbox = Inbox(FastPath(inference, dataplane, metrics.requests).handle, soon)
    return Parts(InferenceDoor(inference, inbox, guarded), inference, inbox, dataplane, repository)


def _lifespan(
    repository: Repository, dataplane: DataPlane, keyring: Keyring, settings: Settings
) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(watch(repository, settings.poll_seconds))
        following = asyncio.create_task(keyring.follow(settings.poll_seconds))
        spare_collector = asyncio.create_task(_spare_collector(repository))
        yield
        spare_collector.cancel()
        following.cancel()
        dataplane.drain()
        watching.cancel()
        await asyncio.wait([watching])
        await repository.close()
        logger.info("stopped")

    return lifespan


async def _spare_collector(repository: Repository) -> None:
    """What start-up made lives as long as the process: the garbage collector need not walk it again, and what requests
    make is freed by its reference counts. Its pauses made the tail of the latencies."""
    await repository.settled.wait()
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 100)
