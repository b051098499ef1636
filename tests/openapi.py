"""The OpenAPI document of an application, as a client gets it."""

import asyncio
from typing import Any

import httpx

from app.api.asgi import InferenceDoor


def document(app: InferenceDoor) -> dict[str, Any]:
    """GET /openapi.json, without a server."""

    async def get() -> dict[str, Any]:
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            schema: dict[str, Any] = (await client.get("/openapi.json")).json()
            return schema

    return asyncio.run(get())
