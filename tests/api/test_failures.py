"""Whatever FastAPI raises, the answer is `{"error": message}`."""

import asyncio
import json
from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Query

from app.api import failures
from app.errors import BonsaiError, InvalidInput, NotFound, Overloaded
from tests.api.application import asked


def routes() -> FastAPI:
    """An application whose paths fail in every way there is."""
    app = FastAPI()
    failures.install(app)

    @app.get("/typed/{number}")
    async def typed(number: int, few: Annotated[int, Query(le=3)] = 0) -> int:
        return number + few

    @app.post("/body")
    async def body(document: dict[str, int]) -> int:
        return len(document)

    @app.get("/raises/{what}")
    async def raises(what: str) -> None:
        raise RAISED[what]

    return app


RAISED: dict[str, Exception] = {
    "fault": RuntimeError("/secret/path at 0x7f"),
    "group": ExceptionGroup("two", [ValueError("/secret/path"), KeyError("x")]),
    "bonsai": BonsaiError("a fault of ours"),
    "input": InvalidInput("x: expected y, got z"),
    "not found": NotFound("no model 'm'"),
    "overloaded": Overloaded("the queue is full", retry_after=2.5),
    "teapot": HTTPException(418, "short and stout", {"x-pot": "tea"}),
    "detail": HTTPException(409, {"detail": ["a", "b"]}),  # type: ignore[arg-type]
}


def ask(method: str, path: str, **content: Any) -> tuple[httpx.Response, str]:
    """The answer, and the message of its body, which holds nothing else."""
    answer = asyncio.run(asked(routes(), method, path, **content))
    document = json.loads(answer.content)
    assert list(document) == ["error"]
    assert answer.headers["content-type"] == "application/json"
    assert isinstance(document["error"], str)
    assert "secret" not in answer.text
    return answer, document["error"]


FAILURES = {
    "no path": ("GET", "/nope", 404, "GET /nope: no such path"),
    "no path, not ascii": ("GET", "/%C3%A9", 404, "no such path"),
    "no path, not utf-8": ("GET", "/%ff", 404, "no such path"),
    "no method": ("DELETE", "/typed/1", 405, "DELETE /typed/1: this path has no such method"),
    "path no integer": ("GET", "/typed/x", 400, "path.number: "),
    "query too large": ("GET", "/typed/1?few=4", 400, "query.few: "),
    "no body": ("POST", "/body", 400, "body: "),
    "a fault": ("GET", "/raises/fault", 500, "the server failed on this request"),
    "several faults": ("GET", "/raises/group", 500, "the server failed on this request"),
    "ours": ("GET", "/raises/bonsai", 500, "a fault of ours"),
    "input": ("GET", "/raises/input", 400, "x: expected y, got z"),
    "not found": ("GET", "/raises/not found", 404, "no model 'm'"),
    "overloaded": ("GET", "/raises/overloaded", 503, "the queue is full"),
    "an http exception": ("GET", "/raises/teapot", 418, "short and stout"),
    "a detail that is no text": ("GET", "/raises/detail", 409, "/raises/detail"),
}


@pytest.mark.parametrize(("method", "path", "status", "text"), FAILURES.values(), ids=FAILURES)
def test_every_failure_has_the_one_form(method: str, path: str, status: int, text: str) -> None:
    answer, message = ask(method, path)
    assert answer.status_code == status
    assert text in message


@pytest.mark.parametrize("content", [b"nonsense", b'{"a": "x"}', b"[1]", b"\xff", b'{"a": 1, "b": null}'], ids=repr)
def test_a_body_that_does_not_validate_is_400(content: bytes) -> None:
    answer, message = ask("POST", "/body", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert "body" in message


def test_a_wrong_method_says_which_are_allowed() -> None:
    answer, _ = ask("DELETE", "/typed/1")
    assert answer.headers["allow"] == "GET"


def test_overload_says_when_to_come_back() -> None:
    answer, _ = ask("GET", "/raises/overloaded")
    assert answer.headers["retry-after"] == "3"


def test_headers_of_an_exception_are_kept() -> None:
    answer, _ = ask("GET", "/raises/teapot")
    assert answer.headers["x-pot"] == "tea"


def test_an_unhandled_exception_still_reaches_the_server_which_logs_it() -> None:
    async def raise_through() -> None:
        transport = httpx.ASGITransport(app=routes())
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            await client.get("/raises/fault")

    with pytest.raises(RuntimeError, match="secret"):
        asyncio.run(raise_through())
