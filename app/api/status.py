"""One table: error code -> HTTP status, and the answer that carries an error."""

import math
from typing import NamedTuple

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


Field = tuple[bytes, bytes]
"""A header's name, in lower case, and its value."""


class MethodNotAllowed(BonsaiError):
    """Another method than POST at an inference path."""

    code = "method_not_allowed"


class Headers(NamedTuple):
    """Header fields in both forms that carriers send, made once where many answers have them."""

    lines: bytes
    """Each with its line end, as HTTP/1.1 has them."""
    fields: tuple[Field, ...]
    """As ASGI has them."""

    @classmethod
    def of(cls, *fields: Field) -> "Headers":
        return cls(b"".join(b"%b: %b\r\n" % field for field in fields), fields)


class Answer(msgspec.Struct, frozen=True):
    """A whole HTTP answer."""

    status: int
    headers: Headers
    """Without content-length, and without the two below."""
    body: bytes
    request_id: bytes = b""
    """X-Request-Id, of answers to inference requests."""
    timing: bytes = b""
    """Server-Timing, of good ones."""

    def header_list(self) -> list[Field]:
        """The headers as ASGI has them, content-length among them."""
        length = (b"content-length", b"%d" % len(self.body))
        if self.timing:
            timing = (b"server-timing", self.timing)
            return [*self.headers.fields, length, (b"x-request-id", self.request_id), timing]
        if self.request_id:
            return [*self.headers.fields, length, (b"x-request-id", self.request_id)]
        return [*self.headers.fields, length]


def error_answer(status: int, message: str, *fields: Field, request_id: bytes = b"") -> Answer:
    """The one form of a failure: `{"error": message}`."""
    headers = Headers.of((b"content-type", b"application/json"), *fields)
    return Answer(status, headers, orjson.dumps({"error": message}), request_id)


def answer_to(error: BonsaiError, request_id: bytes = b"") -> Answer:
    """The answer to an error, with Retry-After (whole seconds) where coming back makes sense, Allow, and
    WWW-Authenticate (RFC 9110, section 15.5.2)."""
    fields: list[Field] = []
    if isinstance(error, Unavailable):
        fields.append((b"retry-after", b"%d" % math.ceil(error.retry_after)))
    if isinstance(error, MethodNotAllowed):
        fields.append((b"allow", b"POST"))
    if isinstance(error, Unauthorized):
        fields.append((b"www-authenticate", b"Bearer"))
    return error_answer(STATUS[error.code], str(error), *fields, request_id=request_id)
