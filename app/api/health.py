"""Health: is the process alive, may it be sent requests, what does it count."""

from typing import Literal

from fastapi import APIRouter, Depends, Response
from fastapi.responses import RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from app.access.keys import Scope
from app.api.scopes import Needs
from app.dataplane import DataPlane
from app.errors import Draining, NotReady
from app.repository.repository import Repository
from app.telemetry.metrics import Metrics

PROBES = ("/livez", "/readyz", "/v2/health/live", "/v2/health/ready")
"""Paths that whoever watches the process may ask without a key, and under any name."""


class Live(BaseModel):
    live: Literal[True] = True


class Ready(BaseModel):
    ready: Literal[True] = True


def router(dataplane: DataPlane, repository: Repository, metrics: Metrics) -> APIRouter:
    """/livez, /readyz, their Open Inference Protocol names, /metrics, and / for whoever opens it in a browser."""
    routes = APIRouter(tags=["health"])

    async def live() -> Live:
        """200 while the process serves."""
        return Live()

    async def ready() -> Ready:
        """200 once the first pass over the repository has ended and a model is ready; 503 while starting or
        draining."""
        _check_ready(dataplane, repository)
        return Ready()

    for path, endpoint in zip(PROBES, (live, ready, live, ready), strict=True):
        routes.add_api_route(path, endpoint, methods=["GET"])

    @routes.get("/metrics", response_class=Response, dependencies=[Depends(Needs(Scope.METRICS))])
    async def exposition() -> Response:
        """Prometheus metrics."""
        return Response(metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    @routes.get("/", include_in_schema=False)
    async def index() -> RedirectResponse:
        return RedirectResponse("/docs")

    return routes


def _check_ready(dataplane: DataPlane, repository: Repository) -> None:
    if dataplane.draining:
        raise Draining("the server is stopping")
    if not repository.settled.is_set():
        raise NotReady("the model repository is being loaded")
    if not repository.ready:
        raise NotReady("no model is ready")
