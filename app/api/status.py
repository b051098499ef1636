"""One table: error code -> HTTP status, and the answer that carries an error."""

import math
from typing import NamedTuple

import orjson

from app.errors import BonsaiError, Unavailable

STATUS: dict[str, int] = {
    "invalid_input": 400,
    "not_representable": 400,
    "not_found": 404,
    "too_large": 413,
    "unsupported_media": 415,
    "internal": 500,
    "execution_failed": 500,
    "load_failed": 500,
    "manifest_invalid": 500,
    "unsupported": 501,
    "unavailable": 503,
    "not_ready": 503,
    "overloaded": 503,
    "draining": 503,
    "deadline_exceeded": 504,
}

Headers = list[tuple[bytes, bytes]]


class Answer(NamedTuple):
    """A whole HTTP answer; headers without content-length."""

    status: int
    headers: Headers
    body: bytes


def error_answer(status: int, message: str, headers: Headers | None = None) -> Answer:
    """The one form of a failure: `{"error": message}`."""
    return Answer(status, [(b"content-type", b"application/json"), *(headers or [])], orjson.dumps({"error": message}))


def answer_to(error: BonsaiError) -> Answer:
    """The answer to an error, with Retry-After (whole seconds) where coming back makes sense."""
    headers = []
    if isinstance(error, Unavailable):
        headers.append((b"retry-after", str(math.ceil(error.retry_after)).encode()))
    return error_answer(STATUS[error.code], str(error), headers)
