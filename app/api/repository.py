"""The model repository extension of the Open Inference Protocol: an index, and loading and unloading by request."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from app.api.admin import admin
from app.api.framing import TooLarge
from app.errors import InvalidInput, Unsupported, clip
from app.protocol.json_tensors import decode
from app.repository.repository import Repository, State

STATES: dict[State, Literal["LOADING", "READY", "UNAVAILABLE"]] = {
    State.LOADING: "LOADING",
    State.READY: "READY",
    State.FAILED: "UNAVAILABLE",
    State.UNLOADED: "UNAVAILABLE",
}
"""The extension's names for the state of a version."""
_PARAMETERS = {"parameters": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}}


class IndexBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ready: bool = False


class LoadBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    parameters: dict[str, bool | int | float | str] = {}


_INDEX = msgspec.json.Decoder(IndexBody)
_LOAD = msgspec.json.Decoder(LoadBody)
_CONFIG = msgspec.json.Decoder(dict[str, msgspec.Raw])


class VersionEntry(BaseModel):
    """One version in the index. `reason` says why it does not answer."""

    name: str
    version: str
    state: Literal["LOADING", "READY", "UNAVAILABLE"]
    reason: str


class Loaded(BaseModel):
    name: str
    load: Literal[True] = True


class Unloaded(BaseModel):
    name: str
    unload: Literal[True] = True


def router(repository: Repository, max_body_bytes: int) -> APIRouter:
    """/v2/repository/index and /v2/repository/models/{model}/load and /unload."""
    routes = APIRouter(prefix="/v2/repository", tags=["repository"])
    administrators = [Depends(admin)]

    async def read(request: Request) -> bytes:
        """An absent body stands for an empty object."""
        return await _read(request, max_body_bytes) or b"{}"

    @routes.post("/index", openapi_extra=_document({"ready": {"type": "boolean"}}))
    async def index(body: Annotated[bytes, Depends(read)]) -> list[VersionEntry]:
        """Every version that lies in the repository and its state; with `ready`, those that answer."""
        asked = decode(_INDEX, body, "body")
        return [entry for entry in _entries(repository) if entry.state == "READY" or not asked.ready]

    @routes.post("/models/{model}/load", dependencies=administrators, openapi_extra=_document(_PARAMETERS))
    async def load(model: str, body: Annotated[bytes, Depends(read)]) -> Loaded:
        """Loads what is unloaded, failed, new or changed of a model, and answers once that is done."""
        _check_load(decode(_LOAD, body, "body"))
        await repository.load(model)
        return Loaded(name=model)

    @routes.post("/models/{model}/unload", dependencies=administrators, openapi_extra=_document(_PARAMETERS))
    async def unload(model: str, body: Annotated[bytes, Depends(read)]) -> Unloaded:
        """Unloads every version of a model, until it is loaded by request or the server starts again."""
        _check_unload(decode(_LOAD, body, "body"))
        await repository.unload(model)
        return Unloaded(name=model)

    return routes


def _entries(repository: Repository) -> Iterator[VersionEntry]:
    for name in repository.names():
        for number, slot in sorted(repository.versions(name).items()):
            reason = "" if slot.state is State.READY else slot.reason or slot.state
            yield VersionEntry(name=name, version=str(number), state=STATES[slot.state], reason=reason)


def _check_load(body: LoadBody) -> None:
    """Raises Unsupported for a model that comes with the request: models come from the repository alone; InvalidInput
    for what would be wrong anywhere."""
    for name, value in body.parameters.items():
        if name == "config":
            decode(_CONFIG, str(value).encode(), "parameters.config")
        if name == "config" or name.startswith("file:"):
            raise Unsupported(f"parameters.{clip(name)}: expected none, models are loaded as the repository has them")
        raise InvalidInput.field(f"parameters.{name}", expected="no such parameter", got="one")


def _check_unload(body: LoadBody) -> None:
    """No model depends on another here, so `unload_dependents` is true of every unload."""
    for name, value in body.parameters.items():
        if name != "unload_dependents":
            raise InvalidInput.field(f"parameters.{name}", expected="no such parameter", got="one")
        if not isinstance(value, bool):
            raise InvalidInput.field(f"parameters.{name}", expected="true or false", got=f"{value!r}")


async def _read(request: Request, limit: int) -> bytes:
    """The body. Raises TooLarge as soon as it is over the limit."""
    pieces = bytearray()
    async for piece in request.stream():
        pieces += piece
        if len(pieces) > limit:
            raise TooLarge(limit)
    return bytes(pieces)


def _document(properties: dict[str, Any]) -> dict[str, Any]:
    """What OpenAPI says of a body."""
    schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return {"requestBody": {"required": False, "content": {"application/json": {"schema": schema}}}}
