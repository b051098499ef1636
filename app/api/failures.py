"""What FastAPI raises, in the one form of a failure: `{"error": message}`."""

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.api.status import Answer, answer_to, error_answer
from app.errors import BonsaiError, clip

_HTTP_MESSAGES = {404: "no such path", 405: "this path has no such method"}


def install(application: FastAPI) -> None:
    """Replaces FastAPI's `{"detail": ...}` everywhere."""
    application.add_exception_handler(BonsaiError, _bonsai_error)
    application.add_exception_handler(HTTPException, _http_exception)
    application.add_exception_handler(RequestValidationError, _validation_error)
    application.add_exception_handler(ClientDisconnect, _client_has_gone)
    application.add_exception_handler(Exception, _fault)


def response(answer: Answer) -> Response:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers.fields}
    return Response(answer.body, answer.status, headers)


async def _bonsai_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, BonsaiError)
    return response(answer_to(error))


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = _HTTP_MESSAGES.get(error.status_code, error.detail)
    fields = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
    return response(
        error_answer(error.status_code, f"{clip(request.method)} {clip(request.url.path)}: {message}", *fields)
    )


async def _validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = "; ".join(f"{'.'.join(map(str, finding['loc']))}: {finding['msg']}" for finding in error.errors())
    return response(error_answer(400, found))


async def _client_has_gone(_: Request, error: Exception) -> Response:
    """A client that leaves within its body is no fault of the server. Nobody gets this answer."""
    return response(error_answer(400, "body: expected the whole of it, got a part"))


async def _fault(_: Request, error: Exception) -> Response:
    return response(error_answer(500, "the server failed on this request"))
