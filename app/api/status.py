"""One table: error code -> HTTP status, and the answer that carries an error."""

import math
import re

import msgspec
import orjson

from app.errors import BonsaiError, Unauthorized, Unavailable

STATUS: dict[str, int] = {
    "bad_request": 400,
    "invalid_input": 400,
    "not_representable": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "too_large": 413,
    "uri_too_long": 414,
    "unsupported_media": 415,
    "rate_limited": 429,
    "headers_too_large": 431,
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


_LINE = re.compile(rb"([^:]+): ([^\r]*)\r\n")


class MethodNotAllowed(BonsaiError):
    """Another method than POST at an inference path."""

    code = "method_not_allowed"


class Answer(msgspec.Struct, frozen=True):
    """A whole HTTP answer."""

    status: int
    headers: bytes
    """Header lines, each with its line end, as HTTP/1.1 has them; without content-length."""
    body: bytes

    def header_list(self) -> list[tuple[bytes, bytes]]:
        """The headers as ASGI has them."""
        return _LINE.findall(self.headers)


def error_answer(status: int, message: str, headers: bytes = b"") -> Answer:
    """The one form of a failure: `{"error": message}`."""
    return Answer(status, b"content-type: application/json\r\n" + headers, orjson.dumps({"error": message}))


def answer_to(error: BonsaiError, headers: bytes = b"") -> Answer:
    """The answer to an error, with Retry-After (whole seconds) where coming back makes sense, Allow, and
    WWW-Authenticate (RFC 9110, section 15.5.2)."""
    if isinstance(error, Unavailable):
        headers += b"retry-after: %d\r\n" % math.ceil(error.retry_after)
    if isinstance(error, MethodNotAllowed):
        headers += b"allow: POST\r\n"
    if isinstance(error, Unauthorized):
        headers += b"www-authenticate: Bearer\r\n"
    return error_answer(STATUS[error.code], str(error), headers)
